"""A certificate authority that only the lab's Droplets trust, and the certificates the stand-in shows."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bed.cache import locked

API_HOST = "api.digitalocean.com"


@dataclass(frozen=True)
class Certificates:
    """Where the CA and the servers' certificates lie.

    Attributes:
        folder: holds ``NAME.pem`` (certificate and key) for each of NAMES.
        authority: the CA's certificate, which goes into a Droplet's trust store.
        subject_hash: the name that OpenSSL looks the CA up by in a hashed folder.
    """

    folder: Path
    authority: Path
    subject_hash: str


# What a Fault's ``certificate`` may name.
NAMES = ("trusted", "expired", "wrong-host", "untrusted")


def certificates() -> Certificates:
    """Make the CA and its certificates, or find them in the cache."""
    with locked("ca") as folder:
        if not (folder / "complete").exists():
            _make(folder)
            (folder / "complete").touch()
    authority = folder / "authority.crt"
    digest = _openssl("x509", "-noout", "-subject_hash", "-in", str(authority)).strip()
    return Certificates(folder, authority, digest)


def server(host: str) -> Path:
    """Return certificate and key, in one file, of a further server that the lab's Droplets trust."""
    certificates()
    with locked("ca") as folder:
        if not (folder / f"{host}.pem").exists():
            _sign(folder, host, "authority", host, ["-days", "3650"])
        return folder / f"{host}.pem"


def _make(folder: Path) -> None:
    _make_authority(folder, "authority")
    _make_authority(folder, "stranger")
    _sign(folder, "trusted", "authority", API_HOST, ["-days", "3650"])
    _sign(folder, "wrong-host", "authority", "www.example.org", ["-days", "3650"])
    _sign(folder, "untrusted", "stranger", API_HOST, ["-days", "3650"])
    # OpenSSL 3.0 cannot say "until last year" except to `openssl ca`; a negative number of days does it here.
    _sign(folder, "expired", "authority", API_HOST, ["-days", "-1"])


def _make_authority(folder: Path, name: str) -> None:
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"),
        *("-subj", f"/O=droplan lab/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")),
    )


def _sign(folder: Path, name: str, authority: str, host: str, validity: list[str]) -> None:
    key, request, extensions = (folder / f"{name}.{suffix}" for suffix in ("key", "csr", "ext"))
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}"),
        *("-keyout", str(key), "-out", str(request)),
    )
    extensions.write_text(f"subjectAltName=DNS:{host}\nbasicConstraints=critical,CA:FALSE\n")
    signed = _openssl(
        *("x509", "-req", "-in", str(request), "-extfile", str(extensions), *validity),
        *("-CA", str(folder / f"{authority}.crt"), "-CAkey", str(folder / f"{authority}.key")),
        *("-CAserial", str(folder / f"{name}.serial"), "-CAcreateserial"),
    )
    (folder / f"{name}.pem").write_text(signed + key.read_text())


def _openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout
