"""A stand-in for sshd, in the Droplet: what comes in over the connection is run as a login's commands are.

    python3 - ADDRESS PORT < sshd.py

It has sshd's name and holds the connection; the command is its child, without SSH_CONNECTION, as below sudo.
"""

import ctypes
import json
import socket
import subprocess
import sys

ctypes.CDLL(None).prctl(15, b"sshd")  # PR_SET_NAME, linux/prctl.h
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
connection = listener.accept()[0]
listener.close()
with connection, connection.makefile("rw") as lines:
    for line in lines:
        command = json.loads(line)
        done = subprocess.run(["sudo-like-shell", "-c", 'exec "$@"', "sh", *command["argv"]], executable="/bin/sh",
                              env=command["env"], capture_output=True, text=True, check=False)  # fmt: skip
        lines.write(json.dumps([done.returncode, done.stdout, done.stderr]) + "\n")
        lines.flush()
