"""The door to the network: what is tried again, what is final, and that nothing is unbounded or tells the token."""

from __future__ import annotations

import ssl
import traceback
from pathlib import Path

import pytest
import requests
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from droplan_boot import __version__
from droplan_boot.errors import NoAnswerError
from droplan_boot.host import http as module
from droplan_boot.host.clock import MachineClock
from droplan_boot.host.http import Http
from tests.bed.memory.doors import Answer, Clock, Script, session

TOKEN = "dop_v1_" + "0" * 64
URL = "https://api.example/v2/droplets"


def failure(script: list[Script], clock: Clock | None = None) -> tuple[str, int]:
    """Ask until it fails; return what it says and how often it asked."""
    http, transport = session(script, clock=clock)
    with pytest.raises(NoAnswerError) as caught:
        http.json(URL, token=TOKEN)
    told = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert TOKEN not in told
    return str(caught.value), len(transport.asked)


class TestRequest:
    def test_it_carries_the_token_and_says_who_asks(self) -> None:
        http, transport = session([Answer({"droplets": []})])
        assert http.json(URL, token=TOKEN) == {"droplets": []}
        headers = transport.asked[0].headers
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert headers["User-Agent"] == f"droplan/{__version__}"
        assert "gzip" in headers["Accept-Encoding"]

    def test_connecting_and_reading_have_a_timeout(self) -> None:
        http, transport = session([Answer({})])
        http.json(URL)
        assert all(0 < seconds <= 10 for seconds in transport.timeouts[0])

    def test_without_a_token_there_is_no_authorization(self) -> None:
        http, transport = session([Answer({})])
        http.json(URL)
        assert "Authorization" not in transport.asked[0].headers

    def test_proxies_and_netrc_of_the_environment_do_not_decide_where_the_token_goes(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "netrc").write_text("machine api.example login x password y\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
        http, transport = session([Answer({})])
        http.json(URL, token=TOKEN)
        assert transport.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"
        assert not http._session.trust_env

    def test_gzip_is_unpacked(self) -> None:
        import gzip

        http, _ = session([Answer(body=gzip.compress(b'{"a": 1}'), headers={"content-encoding": "gzip"})])
        assert http.json(URL) == {"a": 1}


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (201, "answers with status 201"),
            (301, "redirects elsewhere (301), where the token must not go"),
            (302, "redirects elsewhere (302)"),
            (307, "redirects elsewhere (307)"),
            (400, "answers with status 400"),
            (401, "refuses the token (401)"),
            (403, "the token needs the scope droplet:read"),
            (404, "answers with status 404"),
            (422, "answers with status 422"),
            (429, "says too many requests (429)"),
            (501, "answers with status 501"),
        ],
    )
    def test_what_will_not_pass_is_final_at_once(self, status: int, words: str) -> None:
        said, asked = failure([Answer({"id": "x"}, status)])
        assert words in said
        assert "api.example" in said
        assert "the rules stay as they are" in said
        assert asked == 1

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_what_may_pass_is_tried_again_with_growing_pauses(self, status: int) -> None:
        clock = Clock()
        said, asked = failure([Answer({"message": "Server\x1b Error"}, status)] * 9, clock)
        assert f"answers with status {status} (Server\\x1b Error)" in said
        assert asked == 5
        assert len(clock.slept) == 4
        for number, pause in enumerate(clock.slept):
            assert 0.25 * 2**number <= pause <= 0.5 * 2**number

    @pytest.mark.parametrize(
        "passing",
        [
            Answer(None, 500),
            Answer(None, 429, {"retry-after": "3"}),
            requests.exceptions.ConnectionError("reset"),
            requests.exceptions.ReadTimeout("slow"),
            requests.exceptions.ChunkedEncodingError("cut"),
            requests.exceptions.SSLError(ssl.SSLEOFError(8, "UNEXPECTED_EOF_WHILE_READING")),
            ConnectionResetError(104, "Connection reset by peer"),
        ],
        ids=str,
    )
    def test_trouble_that_passes_leaves_no_trace(self, passing: Script) -> None:
        http, transport = session([passing, Answer({"ok": 1})])
        assert http.json(URL) == {"ok": 1}
        assert len(transport.asked) == 2

    def test_pauses_are_not_the_same_for_a_whole_fleet(self) -> None:
        clocks = [Clock() for _ in range(8)]
        for clock in clocks:
            failure([Answer(None, 503)] * 9, clock)
        assert len({clock.slept[0] for clock in clocks}) > 1

    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"message": 5}', b"[]", b'"x"', b"\xff", b"[" * 100_000])
    def test_whatever_an_error_says_there_is_a_sentence(self, body: bytes) -> None:
        assert failure([Answer(status=404, body=body)])[0].startswith("api.example answers with status 404: ")


class TestRetryAfter:
    def test_it_is_honoured(self) -> None:
        clock = Clock()
        http, _ = session([Answer(None, 429, {"retry-after": "7"}), Answer({})], clock=clock)
        http.json(URL)
        assert len(clock.slept) == 1
        assert 7 <= clock.slept[0] <= 8

    @pytest.mark.parametrize(
        "value", ["21", "3600", "-1", "soon", "", "1.5", "9" * 5000, "Wed, 21 Oct 2026 07:28:00 GMT"]
    )
    def test_what_is_too_long_or_no_number_is_not_waited_for(self, value: str) -> None:
        clock = Clock()
        assert failure([Answer(None, 429, {"retry-after": value})], clock)[1] == 1
        assert clock.slept == []


class TestBudget:
    def test_no_retry_begins_that_could_not_end_in_time(self) -> None:
        clock = Clock()
        http, transport = session([Answer(None, 503)] * 9, budget=2.0, clock=clock)
        with pytest.raises(NoAnswerError):
            http.json(URL)
        assert clock.now < 1002
        assert len(transport.asked) < 5

    def test_it_is_shared_by_all_requests_of_the_session(self) -> None:
        clock = Clock()
        http, transport = session([Answer({})] * 9, budget=10.0, clock=clock)
        http.json(URL)
        clock.now += 8
        http.json(URL)
        assert max(transport.timeouts[1]) <= 2
        clock.now += 3
        with pytest.raises(NoAnswerError, match="all the time a refresh has is used up"):
            http.json(URL)
        assert len(transport.asked) == 2

    def test_an_answer_that_trickles_in_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock()
        http, _ = session([Answer(body=b"[" * 10_000)] * 9, budget=30.0, clock=clock)

        def trickle(self: requests.Response, size: int) -> object:
            for _ in range(100):
                clock.now += 1
                yield b" "

        monkeypatch.setattr(requests.Response, "iter_content", trickle)
        with pytest.raises(NoAnswerError, match="trickles in too slowly"):
            http.json(URL)
        assert clock.now < 1032


class TestSize:
    @pytest.mark.parametrize("status", [200, 302, 404, 500])
    def test_a_body_of_100_megabytes_is_not_read_to_its_end(self, status: int) -> None:
        http, transport = session([Answer(status=status, body=bytes(100 << 20), headers={"location": "/v3"})])
        with pytest.raises(NoAnswerError, match="16 MB"):
            http.json(URL)
        assert transport.bodies[0].consumed < 20 << 20

    def test_nor_is_a_bomb_of_zeros_unpacked(self) -> None:
        import zlib

        packer = zlib.compressobj(9, wbits=31)
        bomb = packer.compress(bytes(40 << 20)) + packer.flush()
        http, _ = session([Answer(body=bomb, headers={"content-encoding": "gzip"})])
        with pytest.raises(NoAnswerError, match="more than 16 MB a page"):
            http.json(URL)


class TestBody:
    @pytest.mark.parametrize("body", [b"", b"<html>Log in</html>", b'{"droplets": [', b"\xff\xfe", b"[" * 100_000])
    def test_what_is_no_json_may_be_a_captive_portal(self, body: bytes) -> None:
        assert "something that is no JSON" in failure([Answer(body=body)])[0]

    def test_gzip_that_is_none_is_no_answer(self) -> None:
        failure([Answer(body=b"plain", headers={"content-encoding": "gzip"})] * 9)


@pytest.mark.parametrize("location", ["https://elsewhere.example/", "https://[", "\xff", "", "//", "http://a..b/"])
def test_a_redirect_is_never_followed_whatever_it_says(location: str) -> None:
    said, asked = failure([Answer(None, 302, {"location": location})])
    assert "redirects elsewhere" in said
    assert asked == 1


class TestTrust:
    def test_a_certificate_that_is_not_trusted_is_final(self) -> None:
        refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
        refused.verify_message = "certificate has expired"
        error = requests.exceptions.SSLError(
            urllib3.exceptions.MaxRetryError(None, URL, urllib3.exceptions.SSLError(refused))  # type: ignore[arg-type]
        )
        said, asked = failure([error])
        assert said.startswith("api.example is not trusted (certificate has expired): ")
        assert "check the clock and ca-certificates" in said
        assert asked == 1

    def test_the_hashed_directory_or_the_bundle_of_the_machine_is_trusted(self) -> None:
        assert module.trust_store() is True or Path(str(module.trust_store())).exists()
        assert Http(MachineClock())._session.verify == module.trust_store()


class TestMessages:
    def test_the_innermost_cause_is_told_without_urls_and_object_addresses(self) -> None:
        inner = urllib3.exceptions.NewConnectionError(None, "<conn at 0x7f>: [Errno 111] Connection refused")  # type: ignore[arg-type]
        error = requests.exceptions.ConnectionError(
            urllib3.exceptions.MaxRetryError(None, f"{URL}?x={TOKEN}", inner)  # type: ignore[arg-type]
        )
        said, _ = failure([error] * 9)
        assert said.startswith("api.example gives no answer ([Errno 111] Connection refused): ")

    @settings(max_examples=25)
    @given(
        st.text(max_size=300),
        st.sampled_from([OSError, requests.exceptions.ConnectionError, urllib3.exceptions.ProtocolError]),
    )
    def test_a_message_is_one_line_of_bounded_length(self, text: str, kind: type[Exception]) -> None:
        said, _ = failure([kind(text)] * 9)
        assert said.isprintable()
        assert len(said) < 400

    @pytest.mark.parametrize("host", ["a..b", f"{'a' * 70}.b"])
    def test_a_host_that_cannot_be_looked_up_is_no_answer(self, host: str) -> None:
        clock = Clock()
        http = Http(clock)
        with pytest.raises(NoAnswerError, match="gives no answer"):
            http.json(f"https://{host}/")
