"""A real Ceph object gateway, the engine of Spaces: monitor, one OSD in memory and radosgw, on loopback.

Debian's own packages, unpacked into the cache: nothing of them is installed on this machine. It answers after 12 s.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import requests
from requests_aws4auth import AWS4Auth

from tests.bed.cache import locked

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-base", "ceph-common", "python3-rados", "python3-prettytable")
# What those depend on and single-node gateways do without: daemons, tools for disks, and what every machine has.
_LEFT_OUT = {
    *("sudo", "lvm2", "dmeventd", "dmidecode", "parted", "smartmontools", "xfsprogs", "gdisk", "hdparm"),
    *("cryptsetup-bin", "nvme-cli", "logrotate"),
}

OWNER = ("PUBLISHER", "publisher-secret")
READER = ("MEMBER", "member-secret")

_CONF = """[global]
fsid={fsid}
mon_initial_members=a
mon_host=127.0.0.1:{mon}
public_addr=127.0.0.1
cluster_addr=127.0.0.1
auth_cluster_required=none
auth_service_required=none
auth_client_required=none
osd_pool_default_size=1
osd_pool_default_min_size=1
osd_pool_default_pg_num=1
osd_pool_default_pg_autoscale_mode=off
osd_crush_chooseleaf_type=0
mon_allow_pool_size_one=true
mon_osd_min_in_ratio=0
run_dir={run}
log_file={run}/$name.log
admin_socket={run}/$name.asok
pid_file={run}/$name.pid
keyring={run}/keyring
erasure_code_dir={root}/usr/lib/x86_64-linux-gnu/ceph/erasure-code
plugin_dir={root}/usr/lib/x86_64-linux-gnu/ceph
osd_class_dir={root}/usr/lib/x86_64-linux-gnu/rados-classes
crush_location=root=default host=localhost
osd_objectstore=memstore
memstore_device_bytes=1073741824
osd_memory_target=536870912
ms_bind_msgr2=false
rgw_rados_pool_pg_num_min=1
rgw_enable_usage_log=false
rgw_enable_gc_threads=false
rgw_enable_lc_threads=false
[mon.a]
mon_data={run}/mon
[osd.0]
osd_data={run}/osd
[client.rgw]
rgw_data={run}/rgw
rgw_frontends=beast endpoint=127.0.0.1:{port}
"""


class Engine:
    """The object store; use it in a ``with`` statement.

    Attributes:
        url: where it answers.
    """

    def __init__(self) -> None:
        self._root = packages()
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._grants: dict[str, list[object]] = {}
        self._policies = threading.Lock()
        self.url = ""

    def __enter__(self) -> Engine:
        for last in (False, False, True):
            try:
                self._begin()
                return self
            except RuntimeError:  # now and then a monitor refuses its first OSD; a second one does not
                self.__exit__()
                if last:
                    raise
            except BaseException:
                self.__exit__()
                raise
        raise AssertionError("the last attempt raises")

    def __exit__(self, *_error: object) -> None:
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons = []
        shutil.rmtree(self._run, ignore_errors=True)

    def _begin(self) -> None:
        run = self._run = Path(tempfile.mkdtemp(prefix="rgw-"))
        mon, port = _free_ports()
        self.url = f"http://127.0.0.1:{port}"
        library = f"{self._root}/usr/lib/x86_64-linux-gnu"
        self._environment = {
            "LD_LIBRARY_PATH": f"{library}:{library}/ceph:{self._root}/lib/x86_64-linux-gnu",
            "PYTHONPATH": f"{self._root}/usr/lib/python3/dist-packages",
            "PATH": f"{self._root}/usr/bin:{os.environ['PATH']}",
            "CEPH_CONF": f"{run}/ceph.conf",
            "CEPH_ARGS": f"-c {run}/ceph.conf",
        }
        fsid = str(uuid.uuid4())
        (run / "ceph.conf").write_text(_CONF.format(fsid=fsid, mon=mon, port=port, run=run, root=self._root))
        for name in ("mon", "osd", "rgw"):
            (run / name).mkdir()
        (run / "keyring").touch()
        at = f"[v1:127.0.0.1:{mon}]"
        self._do("monmaptool", "--create", "--addv", "a", at, "--fsid", fsid, f"{run}/monmap")
        self._do("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{run}/monmap", "--mon-data", f"{run}/mon")
        self._start("ceph-mon", "-f", "-i", "a", "--mon-data", f"{run}/mon")
        self._until("ceph", "mon", "stat", says="quorum 0 a")
        self._until("ceph", "osd", "new", fsid, "0")
        self._do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", fsid, "--osd-data", f"{run}/osd")
        self._start("ceph-osd", "-f", "-i", "0", "--osd-data", f"{run}/osd")
        self._until("ceph", "osd", "stat", says="1 up")
        self._start("radosgw", "-f", "-n", "client.rgw", "--rgw-data", f"{run}/rgw")
        self._wait()
        for name, (key, secret) in (("publisher", OWNER), ("member", READER)):
            words = ("--uid", name, "--display-name", name, "--access-key", key, "--secret-key", secret)
            self._do("radosgw-admin", "user", "create", *words)

    def bucket(self, name: str, *, versioned: bool = False) -> str:
        """Make a bucket that OWNER writes and READER may get objects of; return its address."""
        address = f"{self.url}/{name}"
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": ["arn:aws:iam:::user/member"]},
                    "Action": ["s3:GetObject"],
                    "Resource": [f"arn:aws:s3:::{name}/*"],
                }
            ],
        }
        self.ask("PUT", address)
        self.ask("PUT", f"{address}?policy", json.dumps(policy).encode())
        if versioned:
            self.ask(
                "PUT",
                f"{address}?versioning",
                b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            )
        return address

    def private_bucket(self, name: str) -> None:
        """Make a bucket that nobody but its owner gets anything from yet, as a digitalocean_spaces_bucket is."""
        self.ask("PUT", f"{self.url}/{name}")

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket and what is in it, as force_destroy does."""
        listed = self.ask("GET", f"{self.url}/{name}").decode()
        for key in re.findall("<Key>([^<]+)</Key>", listed):
            self.ask("DELETE", f"{self.url}/{name}/{key}")
        self.ask("DELETE", f"{self.url}/{name}")

    def key(self, bucket: str, permission: str) -> tuple[str, str]:
        """Make a key to one bucket, as a digitalocean_spaces_key is.

        Args:
            bucket: its name.
            permission: ``read`` or ``readwrite``; ``no list`` reads and writes, and may not list.

        Returns:
            Id and secret.
        """
        identity, secret = f"DO{uuid.uuid4().hex[:18].upper()}", secrets.token_urlsafe(32)
        words = ("--uid", identity, "--display-name", identity, "--access-key", identity, "--secret-key", secret)
        self._do("radosgw-admin", "user", "create", *words)
        # Without the right to list, a key gets 403 for what is not there, not 404. A member bears that.
        granted = {
            "read": ["s3:GetObject"],
            "readwrite": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
            "no list": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        }
        with self._policies:
            self._grants.setdefault(bucket, []).append(
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": [f"arn:aws:iam:::user/{identity}"]},
                    "Action": granted[permission],
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
            )
            policy = {"Version": "2012-10-17", "Statement": self._grants[bucket]}
            self.ask("PUT", f"{self.url}/{bucket}?policy", json.dumps(policy).encode())
        return identity, secret

    def delete_key(self, identity: str) -> None:
        """Make a key unknown."""
        self._do("radosgw-admin", "user", "rm", "--uid", identity, "--purge-data")

    def revoke(self, name: str) -> None:
        """Take READER's right to a bucket away."""
        self.ask("DELETE", f"{self.url}/{name}?policy")

    def ask(self, method: str, url: str, body: bytes = b"", key: tuple[str, str] = OWNER) -> bytes:
        """Ask the store for something as somebody, past everything under test; it must succeed."""
        answer = requests.request(method, url, data=body, auth=AWS4Auth(*key, "us-east-1", "s3"), timeout=60)
        assert answer.status_code in (200, 204), (method, url, answer.status_code, answer.text)
        return answer.content

    def _until(self, *argv: str, says: str = "") -> None:
        """Repeat a command until it succeeds and says something: the monitor takes a moment before it obeys."""
        deadline = time.monotonic() + 120
        while True:
            done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=120)
            if done.returncode == 0 and says in done.stdout:
                return
            dead = self._dead()
            if dead or time.monotonic() > deadline:
                raise RuntimeError(f"{dead} ended; {' '.join(argv)} goes on failing:\n{done.stdout}{done.stderr}")
            time.sleep(0.2)

    def _do(self, *argv: str) -> None:
        done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")

    def _start(self, *argv: str) -> None:
        with (self._run / f"{argv[0]}.out").open("wb") as log:
            self._daemons.append(subprocess.Popen(argv, env=self._environment, stdout=log, stderr=log))

    def _dead(self) -> list[object]:
        return [daemon.args for daemon in self._daemons if daemon.poll() is not None]

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not self._dead():  # as where another has taken its port meanwhile
            try:
                requests.get(self.url, timeout=30)
                return
            except requests.RequestException:
                time.sleep(0.1)
        raise RuntimeError("radosgw does not answer:\n" + (self._run / "radosgw.out").read_text()[-2000:])


def packages() -> Path:
    """Return the folder that the packages are unpacked in; fetched once, by the machine's own apt."""
    with locked("radosgw") as folder:
        if not (folder / "complete").exists():
            try:
                _fetch(folder)
            except subprocess.CalledProcessError:
                subprocess.run(["apt-get", "-qq", "update"], check=True)  # old lists name what is gone
                _fetch(folder)
            (folder / "complete").touch()
        return folder / "root"


def _fetch(folder: Path) -> None:
    listed = _out(["apt-get", "install", "--simulate", "--no-install-recommends", *PACKAGES])
    names = {line.split()[1] for line in listed.splitlines() if line.startswith("Inst ")} - _LEFT_OUT
    debs = folder / "debs"
    debs.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "-qq", "download", *sorted(names)], cwd=debs, check=True, stderr=subprocess.DEVNULL)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(deb), str(folder / "root")], check=True)
    shutil.rmtree(debs)


def _out(argv: Sequence[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1])
