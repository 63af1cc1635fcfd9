"""Run a command of the machine: the only door through which droplan starts processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from droplan_boot.errors import CommandError, UnansweredError

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ENVIRONMENT: Final = {"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": "/root"}
"""All that a child sees. The token is in droplan's own environment at times, so nothing is inherited."""


@dataclass(frozen=True)
class Completed:
    """A command that ended.

    Args:
        argv: what was run.
        status: its exit status; negative for the signal that killed it.
        stdout: what it printed, decoded.
        stderr: what it complained about, decoded.
    """

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def complaint(self) -> str:
        """Say in one line what was run and how it ended: command, status, last words."""
        words = (self.stderr.strip() or self.stdout.strip() or "it said nothing").splitlines()
        return f"`{_shown(self.argv)}` ended with status {self.status}: {' / '.join(words[-3:])}"

    def failure(self) -> CommandError:
        """Make the error that says so; it holds all that the command complained about."""
        return CommandError(self.complaint(), self.stderr if self.stderr.strip() else self.stdout)


def _shown(argv: Sequence[str]) -> str:
    import shlex  # only a failure is told

    return shlex.join(argv)


class Runner(Protocol):
    """What the rest of droplan needs of the machine's commands; tests put a fake in its place."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 60,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run ``argv`` to its end; see :meth:`Commands.run`."""

    def which(self, name: str) -> Path | None:
        """Find a command on the search path; None when there is none."""


class Commands:
    """The machine's real commands, run without a shell and without our environment."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 60,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command to its end.

        Args:
            argv: command and arguments; never a shell line.
            stdin: what it reads.
            timeout: seconds after which it is killed.
            check: raise when its status is not 0.
            environment: variables added to the little that every child gets.

        Returns:
            How it ended.

        Raises:
            CommandError: it is missing, or (with ``check``) failed; UnansweredError: it took too long.
        """
        import subprocess  # a refresh that finds all as it was starts nothing

        try:
            ended = subprocess.run(
                list(argv),
                input=stdin.encode(),
                capture_output=True,
                timeout=timeout,
                check=False,
                env={**_ENVIRONMENT, **(environment or {})},
                cwd="/",
            )
        except FileNotFoundError:
            raise CommandError(f"`{argv[0]}` is missing: run `droplan install` to put it in place") from None
        except subprocess.TimeoutExpired as late:
            raise UnansweredError(
                f"`{_shown(argv)}` had not ended after {timeout:.0f} s and was stopped: "
                "see what holds it up, then run droplan again",
                (late.stderr or b"").decode(errors="replace"),
            ) from None
        except OSError as error:
            raise CommandError(f"`{argv[0]}` cannot be run: {error.strerror}") from None
        completed = Completed(
            tuple(argv),
            ended.returncode,
            ended.stdout.decode(errors="replace"),
            ended.stderr.decode(errors="replace"),
        )
        if check and completed.status != 0:
            raise completed.failure()
        return completed

    def which(self, name: str) -> Path | None:
        """Find a command on the search path that children get; None when there is none."""
        for folder in SEARCH_PATH.split(":"):
            candidate = Path(folder, name)
            if candidate.is_file():
                return candidate
        return None
