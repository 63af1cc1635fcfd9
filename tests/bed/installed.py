"""A Droplet on which droplan is installed: broken again and again, and compared with how it was before."""

from __future__ import annotations

import contextlib
import re
import signal
from collections import Counter

from tests.bed import Lab
from tests.bed.picture import Picture, difference, picture
from tests.bed.program import CRON, DOWNLOADED, LOG, REFRESH, Done, Program, succeeded

# The system calls that change the machine, or start what does; "?" because not every architecture has them all.
_CHANGES = "?rename,?renameat,?renameat2,?mkdir,?mkdirat,?unlink,?rmdir,?vfork,?clone,?setsockopt"
_TRACE = "/tmp/trace"  # memory only, and no part of a picture

_CLEAN = """
rm -rf /opt/droplan /etc/droplan /etc/cron.d/droplan* /etc/iptables/* /var/lib/droplan/[!z]* /var/log/droplan.log
for tool in iptables ip6tables; do for table in filter mangle; do $tool -t $table -F; $tool -t $table -X; done; done
nft add table inet droplan; nft delete table inet droplan
"""

Step = tuple[str, int]
"""A system call by name, and how many of that name there have been."""


class InstalledLab:
    """A lab with droplan installed, for many tests.

    Attributes:
        lab: the lab, and program: droplan on its Droplet.
        right: the right state: how the first installation left things.
        untouched: how it was before that, packages apart, which stay anyway.
    """

    def __init__(self, iptables: str, **environment: str) -> None:
        self.environment = environment
        self._exit = contextlib.ExitStack()
        self.lab = self._exit.enter_context(Lab(iptables))
        self.droplet = self.lab.droplet
        self.program = Program(self.lab)
        self.install()
        self.program.still_cron()
        self.install()
        self.right = self.state()

    def close(self) -> None:
        """End the lab."""
        self._exit.close()

    def state(self, *, exact: bool = False) -> Picture:
        """Take a picture of all there is."""
        return picture(self.lab, exact=exact)

    def wrong(self) -> dict[str, tuple[str | None, str | None]]:
        """Return what is not in the right state: by path, what is right and what is there."""
        return difference(self.right, self.state())

    def install(self, *words: str, **environment: str) -> Done:
        """Install as a person does, from the downloaded file and with the token."""
        return succeeded(self.program.download("install", *words, **self._token(), **environment))

    def uninstall(self) -> Done:
        """Uninstall from the downloaded file, for the installed one may be damaged."""
        return succeeded(self.program.download("uninstall"))

    def scheduled(self) -> None:
        """Do what cron does by its table: run the script with next to no environment."""
        words = ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", "/bin/sh", "-c", REFRESH]
        done = self.droplet.run(words, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), self.program.read(LOG)

    def is_scheduled(self) -> bool:
        """Whether cron has something to run."""
        return self.droplet.path(CRON).exists()

    def clean(self) -> None:
        """Make it as it was before droplan, but for packages and the unpacked program."""
        self.sh(_CLEAN)

    def sh(self, script: str) -> str:
        """Run a shell script on the Droplet; it must succeed."""
        return self.droplet.run(["sh", "-ec", script]).stdout

    def edit_file(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the Droplet, in the place of whatever is there."""
        target = self.droplet.path(path)
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def steps(self, *words: str) -> list[Step]:
        """See :func:`steps`."""
        return steps(self.program, *words, **self._token())

    def killed(self, step: Step, *words: str) -> None:
        """See :func:`killed`."""
        killed(self.program, step, *words, **self._token())

    def _token(self) -> dict[str, str]:
        return {"DO_KEY": self.lab.token, **self.environment}


def steps(program: Program, *words: str, **environment: str) -> list[Step]:
    """Run the downloaded program to its end, and list where it changed something and so could have been killed."""
    command = ["strace", "-o", _TRACE, "-e", f"trace={_CHANGES}", "/usr/bin/python3", DOWNLOADED, *words]
    succeeded(program.droplet.run(command, env=environment, check=False))
    calls = re.findall(r"^(\w+)\((.*)", program.read(_TRACE), re.MULTILINE)
    program.droplet.path(_TRACE).unlink()
    seen: Counter[str] = Counter()
    listed = []
    for name, rest in calls:
        seen[name] += 1
        if " = -1 " not in rest and "SOL_TCP" not in rest:
            listed.append((name, seen[name]))
    return listed


def killed(program: Program, step: Step, *words: str, **environment: str) -> None:
    """Run the downloaded program and kill it before a step; what it started goes on by itself."""
    inject = f"inject={step[0]}:signal=KILL:when={step[1]}"
    command = ["strace", "-o", "/dev/null", "-e", inject, "/usr/bin/python3", DOWNLOADED, *words]
    done = program.droplet.run(command, env=environment, check=False)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{step} did not come: {done}"
