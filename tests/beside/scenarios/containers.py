"""What containers of any engine run here: the machine's own Python, whose queue of connections is long enough.

(busybox's nc has a queue of one: knocks are lost there, and it looks as if the firewall had lost them.)
"""

from __future__ import annotations

from typing import Final

PORT: Final = 80

_SERVER: Final = """\
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])), backlog=4096)
while True:
    accepted = listener.accept()[0]
    try:
        accepted.sendall(b"hello")
    except OSError:
        pass
    accepted.close()
"""

# The image is next to empty: /usr is the Droplet's own.
FILES: Final = {"/srv/image/server.py": _SERVER}
IMAGE: Final = """
mkdir -p /srv/image/usr /srv/image/tmp /srv/image/etc
for each in bin lib lib64; do ln -sfn "usr/$each" "/srv/image/$each"; done
"""
RUN: Final = f"/usr/bin/python3 -ISu /server.py ${{PORT:-{PORT}}}"
VOLUME: Final = "-v /usr:/usr:ro"

FUNCTIONS: Final = """
answers() { # at the published port, as the Droplet itself reaches it
    python3 -ISc 'import socket; assert socket.create_connection(("10.132.0.2", 8080), 1).recv(9) == b"hello"'
}
"""
