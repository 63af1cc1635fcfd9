"""Fetch JSON over HTTP: the only door through which droplan speaks to the network.

One session with bounded everything: attempts, seconds, bytes. Redirects are not followed, because the token would
follow them; proxies and .netrc of the environment are not used, because they would decide where the token goes.
"""

from __future__ import annotations

import json
import os
import random
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from droplan_boot import __version__
from droplan_boot.errors import NoAnswerError, TokenError
from droplan_boot.host import deadline
from droplan_boot.host.clock import Clock
from droplan_boot.host.lean import requests, urllib3

_TIMEOUT_S: Final = (5.0, 10.0)  # to connect, and between two reads
_ATTEMPTS: Final = 5
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_LONGEST_WAIT_S: Final = 20.0
_LIMIT_BYTES: Final = 16 << 20  # a page of 200 Droplets has about 600 KB
_CHUNK_BYTES: Final = 1 << 18  # of which each costs a turn through requests and urllib3


class Reply(NamedTuple):
    """What a server answered.

    Args:
        status: of HTTP.
        headers: by name, whatever its case.
        body: whole.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """A session to DigitalOcean.

    Args:
        budget: seconds that all requests of this session may take together, retries included.
        clock: tells how much of them is left, and waits between two attempts.

    Attributes:
        allowance: what the last answer that told said of the API's limit: requests remaining, the limit, and when
            the oldest request expires (epoch); None when none told.
    """

    def __init__(self, clock: Clock, budget: float = 30.0) -> None:
        # The resolver has no timeout of its own that we could pass: by default a dead server costs 30 s.
        os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:2")
        # A clock that is years off makes urllib3 warn; what it leads to is told in our one sentence.
        urllib3.disable_warnings()
        self._session = _Session()
        self._session.trust_env = False
        self._session.verify = trust_store()
        self._session.headers["User-Agent"] = f"droplan/{__version__}"
        self._session.headers["Accept"] = "application/json"
        self.allowance: tuple[int, int, int] | None = None
        """Requests that are left, of how many an hour, and when the oldest expires (epoch); None if not told."""
        self._clock = clock
        self._deadline = clock.monotonic() + budget

    def json(self, url: str, *, token: str = "") -> Any:
        """Get a JSON document, as :meth:`get` and :func:`decoded` do.

        Raises:
            NoAnswerError: there was none, or it is no JSON.
        """
        return decoded(url, self.get(url, token=token))

    def get(self, url: str, *, token: str = "") -> bytes:
        """Get a document, as it is sent.

        Passing trouble (no connection, 429 with a bounded retry-after, 500, 502, 503, 504) is tried again with
        growing, jittered pauses. The rest is final at once, 429 for the hourly limit included: it passes too late.

        Args:
            url: http or https.
            token: sent as Bearer token; "" for none.

        Raises:
            NoAnswerError: there was none; the message says why and never holds the token.
        """
        host = urlsplit(url).netloc
        for attempt in range(_ATTEMPTS):
            pause = min(0.5 * 2**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311 (jitter, no secret)
            try:
                status, headers, body = self._get(url, token)
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                if isinstance(_innermost(error), ssl.SSLCertVerificationError):
                    raise NoAnswerError(
                        f"{host} is not trusted ({_reason(error)})", "check the clock and ca-certificates"
                    ) from None
                failure = NoAnswerError(f"{host} gives no answer ({_reason(error)})", "check DNS, route and firewall")
            else:
                if status == 200:
                    return body
                failure = _refusal(host, status, body)
                if status not in _PASSING:
                    raise failure from None
                if status == 429:
                    pause = _retry_after(headers.get("retry-after"), failure)
            if attempt + 1 == _ATTEMPTS or self._clock.monotonic() + pause >= self._deadline:
                raise failure from None
            self._clock.sleep(pause)
        raise AssertionError("the last attempt raises")

    def renew(self, budget: float) -> None:
        """Begin the time that requests may take anew, for a program that outlives one refresh.

        Args:
            budget: seconds, as of now.
        """
        self._deadline = self._clock.monotonic() + budget

    def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", auth: Any = None
    ) -> Reply:
        """Send one request, once, and take whatever status is answered.

        Args:
            method: such as ``PUT``.
            url: http or https.
            headers: besides the session's.
            body: what is sent.
            auth: signs the request, as requests has it; None for nobody.

        Raises:
            NoAnswerError: no answer came; what was sent may have arrived all the same.
        """
        try:
            return Reply(*self._send(method, url, headers or {}, body, auth))
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            host = urlsplit(url).netloc
            raise NoAnswerError(
                f"{host} gives no answer ({_reason(error)})", "check DNS, route, firewall and clock"
            ) from None

    def _get(self, url: str, token: str) -> tuple[int, Any, bytes]:
        return self._send("GET", url, {"Authorization": f"Bearer {token}"} if token else {})

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], sent: bytes = b"", auth: Any = None
    ) -> tuple[int, Any, bytes]:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise requests.exceptions.Timeout("all the time a refresh has is used up")
        timeout = (min(_TIMEOUT_S[0], left), min(_TIMEOUT_S[1], left))
        # A server that sends a byte now and then keeps every read short of its time-out, so all share one more.
        late = requests.exceptions.Timeout("the answer trickles in too slowly")
        with (
            deadline.within(left, late),
            self._session.request(
                method,
                url,
                headers=headers,
                data=sent or None,
                auth=auth,
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            ) as response,
        ):
            chunks, size = [], 0
            for chunk in response.iter_content(_CHUNK_BYTES):
                chunks.append(chunk)
                size += len(chunk)
                if size > _LIMIT_BYTES:
                    raise NoAnswerError(
                        f"{urlsplit(url).netloc} sends more than {_LIMIT_BYTES >> 20} MB a page",
                        "see what answers there in its place",
                    )
                if self._clock.monotonic() > self._deadline:
                    raise late
            self._take_allowance(response.headers)
            return response.status_code, response.headers, b"".join(chunks)

    def _take_allowance(self, headers: Any) -> None:
        """Remember how many requests are left, https://docs.digitalocean.com/reference/api/ ("Rate limit")."""
        told = [headers.get(f"ratelimit-{name}", "") for name in ("remaining", "limit", "reset")]
        if all(re.fullmatch(r"[0-9]{1,12}", each, re.ASCII) for each in told):
            remaining, limit, reset = map(int, told)
            self.allowance = remaining, limit, reset


class _Session(requests.Session):
    """A session for which a redirect is an answer; requests would read its body, unbounded, to prepare for it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """See no redirect."""


def trust_store() -> str | bool:
    """Choose the certificate authorities to trust: the machine's own, so that its owner decides.

    A hashed directory is preferred to a bundle: OpenSSL then reads the one certificate it needs, not all of them.

    Returns:
        A path for requests' ``verify``; True for certifi's bundle where the machine has none.
    """
    directory = Path("/etc/ssl/certs")
    if directory.is_dir() and any(name.endswith(".0") for name in os.listdir(directory)):
        return str(directory)
    for bundle in (
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/ca-bundle.pem",
    ):
        if Path(bundle).is_file():
            return bundle
    return True


def decoded(url: str, body: bytes) -> Any:
    """Decode a JSON document.

    Args:
        url: where it comes from.
        body: what was sent.

    Raises:
        NoAnswerError: it is no JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswerError(
            f"{urlsplit(url).netloc} answers with something that is no JSON", "is a captive portal in between?"
        ) from None


def _refusal(host: str, status: int, body: bytes) -> NoAnswerError:
    if status == 401:
        return TokenError(
            f"{host} refuses the token (401)",
            "make a token with the scope droplet:read and run `sudo droplan token`, which asks for it",
        )
    if status == 403:
        return TokenError(f"{host} forbids it (403)", "the token needs the scope droplet:read")
    if status == 429:
        return NoAnswerError(
            f"{host} says too many requests (429)", "if it lasts, raise DROPLAN_INTERVAL or use another token"
        )
    if 300 <= status < 400:
        return NoAnswerError(
            f"{host} redirects elsewhere ({status}), where the token must not go",
            "see what answers there in its place",
        )
    return NoAnswerError(f"{host} answers with status {status}{_message(body)}", "the next run asks again")


def _message(body: bytes) -> str:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f" ({ascii(message)[1:-1]:.100})" if isinstance(message, str) else ""


def _retry_after(value: str | None, failure: NoAnswerError) -> float:
    """Seconds to wait; the hourly limit, which names none, is not waited for."""
    if value is None or not re.fullmatch(r"[0-9]{1,4}", value) or int(value) > _LONGEST_WAIT_S:
        raise failure
    return int(value) + random.random()  # noqa: S311 (jitter, no secret)


def _innermost(error: BaseException) -> BaseException:
    """Find the cause; the errors around it wrap it in URLs and object addresses."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            return error
        error = inner


def _reason(error: BaseException) -> str:
    cause = _innermost(error)
    words = (
        getattr(cause, "verify_message", None)
        or getattr(cause, "strerror", None)
        or str(cause)
        or type(cause).__name__
    )
    return ascii(str(words).rsplit(">: ", 1)[-1])[1:-1][:160]
