"""Hosts made of namespaces that live exactly as long as the lab does.

Nothing here has a name on the machine. A host is a process that waits for its standard input to end; its network
and process namespaces end with it, and its standard input ends when this process does, however that happens. So a
lab that is killed leaves nothing behind, and labs cannot collide.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Generic, TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
# What cron and a login give a command, and nothing of the test's own environment: no token can slip through.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Link:
    """A host's network interface.

    Attributes:
        name: ``eth0`` is the public one, ``eth1`` the private one.
        addresses: with their prefix lengths; link-local ones come by themselves.
    """

    name: str
    mac: str
    addresses: tuple[str, ...]

    @property
    def ipv4(self) -> str:
        """The first IPv4 address, without prefix length."""
        return next(address for address in self.addresses if ":" not in address).split("/")[0]

    @property
    def link_local(self) -> str:
        """The IPv6 link-local address that the kernel makes of the MAC address (RFC 4291, appendix A)."""
        octets = bytes.fromhex(self.mac.replace(":", ""))
        eui64 = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
        return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + eui64)


class Host:
    """A network and a process namespace, in which commands run and sockets are made."""

    # Namespaces that a command enters. The files it sees are those of the machine.
    enters: tuple[str, ...] = ("--net", "--pid")

    def __init__(self, name: str) -> None:
        self.name = name
        self.links: tuple[Link, ...] = ()
        self._holder: subprocess.Popen[str] | None = None
        self._commands: list[subprocess.Popen[str]] = []
        self.pid = 0

    def start(self) -> None:
        """Make the namespaces. Links in it make no use of duplicate address detection, which takes a second."""
        self._hold(["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", "echo up; exec cat"])
        self.inside(prepare_network)

    def stop(self) -> None:
        """End every process of this host, and with the last of them its namespaces."""
        if self._holder is None:
            return
        self.pid = 0  # soon another process may have the old one, and no command is to run there
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        try:
            self._holder.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        self._holder = None
        for command in self._commands:
            _kill(command)
        self._commands.clear()

    def _hold(self, command: Sequence[str]) -> None:
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "up\n":
            raise RuntimeError(f"{self.name} did not come up; its error output is above")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self.pid = int(children[0])

    @property
    def netns(self) -> Path:
        """The network namespace, for ``nsenter --net=…``."""
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def private(self) -> Link:
        """The interface in the VPC: the only one, where there is but one."""
        return next((link for link in self.links if link.name == "eth1"), self.links[0])

    @property
    def public(self) -> Link:
        """The interface to the Internet."""
        return next(link for link in self.links if link.name == "eth0")

    @property
    def address(self) -> str:
        """The private IPv4 address."""
        return self.private.ipv4

    @property
    def link_local(self) -> str:
        """The IPv6 link-local address on the private interface, without scope."""
        return self.private.link_local

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command on this host; it ends with the host at the latest.

        Args:
            argv: the command.
            env: added to a plain environment; the test's own is not passed on.
            stdin: as in subprocess.Popen, like stdout and stderr.
        """
        command = subprocess.Popen(
            ["nsenter", f"--target={self.pid}", *self.enters, "--", *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env={**_ENVIRONMENT, **(env or {})},
            start_new_session=True,  # so that a time-out can end the command's children too
        )
        self._commands = [other for other in self._commands if other.poll() is None]
        self._commands.append(command)
        return command

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 (as in subprocess.run)
        check: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this host and wait for it.

        Args:
            argv: the command.
            env: added to a plain environment; the test's own is not passed on.
            input: what the command reads on standard input.
            check: whether an exit code other than 0 is an error.
            timeout: in seconds.

        Raises:
            AssertionError: the command failed; it says command, exit code and both outputs.
            subprocess.TimeoutExpired: it and its children were killed.
        """
        process = self.popen(argv, env=env, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            _kill(process)
            raise
        done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {argv} ended with {done.returncode}\n{out}\n{err}")
        return done

    def ip(self, batch: str) -> None:
        """Run ``ip`` commands here, one a line; process ids in them are those of the machine."""
        command = ["nsenter", f"--net={self.netns}", "ip", "-batch", "-"]
        done = subprocess.run(command, input=batch, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{self.name}: ip failed: {done.stderr}\n{batch}")

    def inside(self, work: Callable[[], T]) -> T:
        """Call a function in a thread of this process that is in this host's network namespace.

        Sockets belong to the namespace they are made in, for good; so a test can speak and listen as any host,
        without a process there.
        """
        thread = _Inside(self.netns, work)
        thread.start()
        thread.join()
        return thread.result()

    def scope(self, link: Link) -> int:
        """Return the interface's index here, which link-local addresses need."""
        return self.inside(lambda: socket.if_nametoindex(link.name))


class _Inside(threading.Thread, Generic[T]):
    def __init__(self, netns: Path, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._netns = netns
        self._work = work
        self._results: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            enter(self._netns)
            self._results.append(self._work())
        except BaseException as error:  # raised again where the result is asked for
            self._error = error

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]


def enter(netns: Path) -> None:
    """Move the calling thread, not its process, into a network namespace (setns(2)); os.setns came with 3.12."""
    assert threading.current_thread() is not threading.main_thread()
    libc = ctypes.CDLL(None, use_errno=True)
    with netns.open() as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(netns))


def prepare_network() -> None:
    """Settle what a new network namespace differs in from a machine; to be called inside."""
    sysctl = Path("/proc/sys/net")
    (sysctl / "ipv6/conf/all/accept_dad").write_text("0")
    (sysctl / "ipv6/conf/default/accept_dad").write_text("0")
    # "Port unreachable" is how the lab's resolvers and closed ports answer; kept back, each look-up takes seconds.
    (sysctl / "ipv4/icmp_ratelimit").write_text("0")
    for name in ("iptables", "ip6tables", "arptables"):
        # Where it is there, bridged frames would be shown to the switch's own (empty) iptables.
        switch = sysctl / "bridge" / f"bridge-nf-call-{name}"
        if switch.exists():
            switch.write_text("0")


def _kill(command: subprocess.Popen[str]) -> None:
    if command.poll() is None:
        try:
            os.killpg(command.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself just now
        command.wait()
    for stream in (command.stdin, command.stdout, command.stderr):
        if stream is not None:
            stream.close()
