"""Render user-data.yaml and user-data.sh from their .in files: each @@NAME@@ line becomes that file, gzip and base64.

Run it after a change to any of them: `python3 cloud-init/render.py`. A test compares what is committed with these.
"""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
RENDERED = ("user-data.yaml", "user-data.sh")
PLACEHOLDER = re.compile(r"^(?P<indent>[ \t]*)@@(?P<name>[\w.]+)@@\n", re.MULTILINE)
COLUMNS = 100


def encode(content: bytes) -> str:
    """Compress and encode a file.

    Args:
        content: the bytes of the file.

    Returns:
        The base64 of its gzip stream (no name or time in it), without line breaks.
    """
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return base64.b64encode(compressor.compress(content) + compressor.flush()).decode("ascii")


def decode(text: str) -> bytes:
    """Undo encode(); white space in TEXT does not matter."""
    return zlib.decompress(base64.b64decode("".join(text.split())), 16 + zlib.MAX_WBITS)


def render(template: str, directory: Path = HERE) -> str:
    """Put the named files into a template.

    Args:
        template: text with lines of the form @@NAME@@.
        directory: where the named files are.

    Returns:
        The text with each such line replaced by lines of base64 at the same indentation.
    """

    def lines(match: re.Match[str]) -> str:
        encoded = encode((directory / match["name"]).read_bytes())
        return "".join(f"{match['indent']}{encoded[i : i + COLUMNS]}\n" for i in range(0, len(encoded), COLUMNS))

    return PLACEHOLDER.sub(lines, template)


def main() -> None:
    """Write both files beside their templates."""
    for name in RENDERED:
        (HERE / name).write_text(render((HERE / f"{name}.in").read_text()))


if __name__ == "__main__":
    main()
