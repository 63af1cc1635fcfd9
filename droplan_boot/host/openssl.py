"""Sign and verify with the machine's own openssl(1): ECDSA on P-256 with SHA-256.

By command, not by a library: every distribution has it and mends it, a private key stays in a program made for it,
and a verification costs 6 ms. OpenSSL 1.0.2 and later know these options.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from pathlib import Path
from typing import Final

from droplan_boot.errors import CommandError, DroplanError
from droplan_boot.host.command import Runner

_BEGIN: Final = "-----BEGIN PUBLIC KEY-----"
_END: Final = "-----END PUBLIC KEY-----"


def make_key(runner: Runner) -> str:
    """Make a private key, as PEM.

    Raises:
        CommandError: openssl failed, or there is none.
    """
    curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"]
    return _openssl(runner, "genpkey", "-algorithm", "EC", *curve)


def public_key(runner: Runner, private: str) -> str:
    """Tell the public half of a private key.

    Args:
        runner: runs openssl.
        private: PEM.

    Returns:
        SubjectPublicKeyInfo (RFC 5280) in base64, one line.

    Raises:
        DroplanError: that is no private key of P-256.
    """
    try:
        pem = _openssl(runner, "pkey", "-pubout", stdin=private)
    except CommandError as error:
        raise DroplanError(f"that is no private key: make one with `droplan fleet key FILE` ({error})") from None
    line = "".join(pem.replace(_BEGIN, "").replace(_END, "").split())
    if not is_public_key(line):
        raise DroplanError("that is no private key of the curve P-256: make one with `droplan fleet key FILE`")
    return line


def is_public_key(line: str) -> bool:
    """Whether this is a public key of P-256 as :func:`public_key` spells it."""
    try:
        der = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return False
    # RFC 5480: SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of an uncompressed point }
    return len(der) == 91 and der.startswith(bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"))


def sign(runner: Runner, key: Path, text: str) -> str:
    """Sign a text with the private key in a file; return the signature (DER) in base64, one line.

    Raises:
        CommandError: openssl failed, or there is none.
    """
    said = _openssl(runner, "dgst", "-sha256", "-sign", str(key), "-hex", stdin=text)
    found = re.search(r"= *([0-9a-f]+)\s*$", said)
    if not found:
        raise CommandError("openssl signed, but did not say how: see `openssl version`")
    return base64.b64encode(bytes.fromhex(found[1])).decode()


def verify(runner: Runner, key: str, signature: str, text: str) -> bool:
    """Whether a text was signed with the private half of a key.

    Args:
        runner: runs openssl.
        key: the public half, as :func:`public_key` tells it.
        signature: as :func:`sign` returns it.
        text: what was signed.

    Raises:
        CommandError: there is no openssl, or it did not end.
    """
    try:
        der = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    with tempfile.TemporaryDirectory(prefix="droplan-") as folder:
        wrapped = "\n".join(key[start : start + 64] for start in range(0, len(key), 64))
        public, signed = Path(folder, "key"), Path(folder, "signature")
        public.write_text(f"{_BEGIN}\n{wrapped}\n{_END}\n")
        signed.write_bytes(der)
        argv = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(signed)]
        done = runner.run(argv, stdin=text, check=False)
    # Not the status alone: what is believed here opens the firewall.
    return done.status == 0 and done.stdout.strip() == "Verified OK"


def _openssl(runner: Runner, *words: str, stdin: str = "") -> str:
    return runner.run(["openssl", *words], stdin=stdin).stdout
