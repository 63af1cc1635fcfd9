"""Every page as a real browser lays it out: on a phone in the dark, at a desk in the light.

Nothing is wider than the screen, no picture is broken, each diagram is drawn, the recording waits to be played, and
what is written can be read. The browser may ask nobody but the site.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

BROWSER = shutil.which("chromium") or "google-chrome"
PATIENCE_S = 900.0
CONTRAST = 4.5  # WCAG 2.2, 1.4.3, for text of common size
RECORDED = "ACCEPT  peer-1 10.132.0.3: it is a peer"  # a line of docs/assets/demo.cast where the player waits
# Loads each page into a frame of the screen's size, waits for its diagrams and its player, and tells what is wrong
# with it, and what the player shows.
LOOK = """<!doctype html><title>look</title><script>
const frame = (width, height) => Object.assign(document.createElement("iframe"), { width, height });
const light = (colour) => {
  const [red, green, blue] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ground = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const colour = one.ownerDocument.defaultView.getComputedStyle(one).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
const contrast = (element) => {
  const own = element.ownerDocument.defaultView.getComputedStyle(element).color;
  const [high, low] = [light(own), light(ground(element))].sort((one, other) => other - one);
  return (high + 0.05) / (low + 0.05);
};
async function look(screen, page) {
  screen.src = page;
  await new Promise((resolve) => screen.addEventListener("load", resolve, { once: true }));
  const inside = screen.contentDocument;
  const root = inside.documentElement;
  for (let n = 0; n < 600 && inside.querySelector("pre.mermaid"); n++) await new Promise((r) => setTimeout(r, 50));
  const player = inside.querySelector("script[src*=asciinema-player]");
  const shown = () => inside.querySelector(".ap-term-text")?.textContent ?? "";
  for (let n = 0; n < 600 && player && !shown().trim(); n++) await new Promise((r) => setTimeout(r, 50));
  const found = [];
  if (root.scrollWidth > root.clientWidth) found.push(`${root.scrollWidth} wide on ${root.clientWidth}`);
  for (const one of inside.images) if (!one.naturalWidth) found.push(`broken: ${one.getAttribute("src")}`);
  if (inside.querySelector("pre.mermaid")) found.push("a diagram that is not drawn");
  for (const one of inside.querySelectorAll("div.mermaid")) {
    const { width, height } = one.getBoundingClientRect();
    if (width < 50 || height < 50) found.push(`a diagram of ${width} by ${height}`);
  }
  for (const name of ["h1", "article p", "article td", "article p a", "article pre code", "article p code"]) {
    const worst = Math.min(...[...inside.querySelectorAll(name)].slice(0, 100).map(contrast));
    if (worst < CONTRAST) found.push(`${name}: contrast ${worst.toFixed(2)}`);
  }
  const drawn = inside.querySelectorAll("div.mermaid").length;
  return { page, found, drawn, shown: shown(), scheme: inside.body.dataset.mdColorScheme };
}
(async () => {
  const { pages, width, height } = await (await fetch("/wanted")).json();
  const screen = document.body.appendChild(frame(width, height));
  const seen = [];
  for (const page of pages) seen.push(await look(screen, page));
  await fetch("/seen", { method: "POST", body: JSON.stringify(seen) });
})().catch((error) => fetch("/seen", { method: "POST", body: JSON.stringify(String(error)) }));
</script><body></body>""".replace("CONTRAST", str(CONTRAST))


class Screen(NamedTuple):
    """What somebody reads on."""

    name: str
    width: int
    height: int
    scheme: str
    prefers: int  # blink's number: 0 is dark, 1 is light


SCREENS = [Screen("phone", 390, 844, "slate", 0), Screen("desk", 1280, 800, "default", 1)]


class Desk(SimpleHTTPRequestHandler):
    """Serves the site, the page that looks, and takes what it saw."""

    wanted: ClassVar[dict[str, Any]]
    seen: ClassVar[list[Any]]
    told: ClassVar[threading.Event]

    def do_GET(self) -> None:
        own = {"/look.html": ("text/html", LOOK), "/wanted": ("application/json", json.dumps(self.wanted))}
        if self.path not in own:
            super().do_GET()
            return
        kind, text = own[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        self.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        self.told.set()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(site: Path, desk: type[Desk]) -> Iterator[str]:
    """Serve the site on this machine; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(desk, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def looked(site: Path, screen: Screen, pages: list[str], home: Path) -> list[dict[str, Any]]:
    """Have a browser look at pages on a screen; return what it says of each."""

    class Here(Desk):
        wanted: ClassVar[dict[str, Any]] = {"pages": pages, "width": screen.width, "height": screen.height}
        seen: ClassVar[list[Any]] = []
        told = threading.Event()

    options = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={home}",
        f"--blink-settings=preferredColorScheme={screen.prefers}",
        "--window-size=1400,1000",
    ]
    with served(site, Here) as address, (home / "log").open("wb") as log:
        browser = subprocess.Popen([BROWSER, *options, f"{address}/look.html"], stdout=log, stderr=log)
        try:
            assert Here.told.wait(PATIENCE_S), (home / "log").read_text()[-2000:]
        finally:
            browser.terminate()
            browser.wait()
    (seen,) = Here.seen
    assert isinstance(seen, list), seen
    return seen


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_each_page_fits_is_whole_and_can_be_read(site: Path, screen: Screen, tmp_path: Path) -> None:
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    seen = looked(site, screen, pages, tmp_path)
    assert [one["page"] for one in seen] == pages
    assert {one["page"]: one["found"] for one in seen if one["found"]} == {}
    assert {one["scheme"] for one in seen} == {screen.scheme}
    assert sum(one["drawn"] for one in seen) >= 5, "the diagrams are there"
    assert [one["page"] for one in seen if RECORDED in one["shown"]] == ["index.html"], "the recording is there"


def test_a_page_that_is_too_wide_broken_or_pale_would_be_found(site: Path, tmp_path: Path) -> None:
    page = site / "zz.html"
    page.write_text(
        "<!doctype html><body data-md-color-scheme=x><h1 style='color: #ccc'>pale</h1><img src=none.svg>"
        "<div style='width: 500px; height: 1px'></div><pre class=mermaid>graph</pre>"
    )
    try:
        ((seen),) = looked(site, SCREENS[0], ["zz.html"], tmp_path)
    finally:
        page.unlink()
    assert [one.partition(":")[0] for one in seen["found"]] == [
        "508 wide on 390",
        "broken",
        "a diagram that is not drawn",
        "h1",
    ]
