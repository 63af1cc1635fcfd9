"""A machine to break: a root of its own in new user, mount and network namespaces, where everybody is root.

``python sandbox.py ROOT COMMAND…``, started by ``unshare``, runs each shell command in ROOT and prints a JSON list of
their exit statuses and outputs. The machine has an interface ``ens4`` with the MAC address that its metadata service
(the document ROOT/metadata.json, if there is one) calls private, a console that is a plain file, and our /usr.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

PRIVATE_MAC = "04:01:2a:0f:2a:02"
METADATA_ADDRESS = "169.254.169.254"
FOLDERS = ("dev", "etc/alternatives", "etc/systemd/system", "opt", "proc", "run", "sys", "tmp", "usr", "var/lib")


class Metadata(http.server.BaseHTTPRequestHandler):
    """Serves one document."""

    document: bytes

    def do_GET(self) -> None:
        found = self.path == "/metadata/v1.json"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(self.document if found else b"not found")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        """Keep quiet."""


def furnish(root: Path) -> None:
    """Make the folders of a root; what is there stays, as on a disk over a reboot."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("dev/null", "dev/console"):
        (root / name).touch()


def mount(root: Path, hidden: list[str]) -> None:
    """Mount what a root needs; HIDDEN programs cannot be executed there."""
    subprocess.run(["mount", "--rbind", "/usr", root / "usr"], check=True)
    subprocess.run(["mount", "--bind", "/etc/alternatives", root / "etc/alternatives"], check=True)
    subprocess.run(["mount", "--rbind", "/proc", root / "proc"], check=True)
    subprocess.run(["mount", "--bind", "/dev/null", root / "dev/null"], check=True)
    subprocess.run(["mount", "-t", "sysfs", "sysfs", root / "sys"], check=True)
    for program in hidden:
        subprocess.run(["mount", "--bind", "/dev/null", root / program.lstrip("/")], check=True)


def network(root: Path) -> None:
    """Bring up the interfaces, and the metadata service if the machine has a document for it."""
    for command in (
        "ip link set lo up",
        f"ip address add {METADATA_ADDRESS}/32 dev lo",
        f"ip link add ens4 address {PRIVATE_MAC} type veth peer name wire",
        "ip link set ens4 up",
    ):
        subprocess.run(command.split(), check=True)
    document = root / "metadata.json"
    if document.exists():
        Metadata.document = document.read_bytes()
        server = http.server.ThreadingHTTPServer((METADATA_ADDRESS, 80), Metadata)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    """Run the commands."""
    root, hidden = Path(sys.argv[1]), [name for name in os.environ.get("HIDDEN", "").split(":") if name]
    furnish(root)
    mount(root, hidden)
    network(root)
    results = []
    for command in sys.argv[2:]:
        done = subprocess.run(
            ["/usr/sbin/chroot", root, "/bin/sh", "-c", command],
            env={"PATH": "/fakes:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        results.append((done.returncode, done.stdout))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
