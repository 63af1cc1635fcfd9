"""What can go wrong, and the exit code of each. Every message is one sentence that says what to do next.

The exit codes are a contract (README, "Exit codes"): 0 done, 1 failed and the rules are as they were,
2 usage, 3 ``status`` found drift, 4 refused for safety, 5 ``status`` found something else that needs a person.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a fifth of `droplan --version`
if TYPE_CHECKING:
    from typing import Final

EXIT_DONE: Final = 0
EXIT_DRIFT: Final = 3
EXIT_ATTENTION: Final = 5


class DroplanError(Exception):
    """The run failed and the rules are as they were."""

    exit_code = 1


class UsageError(DroplanError):
    """The command line or a setting is wrong: nothing was tried."""

    exit_code = 2


class RefusedError(DroplanError):
    """Going on would do harm, such as cutting the caller's own SSH session."""

    exit_code = 4


class NoAnswerError(DroplanError):
    """DigitalOcean gave no complete, well-formed answer, so nobody knows who the peers are.

    Args:
        why: what is wrong with the answer.
        advice: what to do next; "" where only the next run can tell.
        outcome: what became of the rules.
    """

    def __init__(self, why: str, advice: str = "", outcome: str = "the rules stay as they are") -> None:
        super().__init__(f"{why}: {outcome}{f'; {advice}' if advice else ''}")
        self.why = why
        self.advice = advice

    @property
    def plain(self) -> str:
        """The same where there are no rules to speak of, on a publisher."""
        return f"{self.why}{f': {self.advice}' if self.advice else ''}"

    def closed(self) -> NoAnswerError:
        """Tell the same of a Droplet whose interface was closed for want of an answer."""
        return type(self)(self.why, self.advice, "the interface is closed to all but DROPLAN_ALLOW")


class TokenError(NoAnswerError):
    """DigitalOcean refuses the token: only its owner can mend that."""


class CommandError(DroplanError):
    """A command of the machine failed, is missing or took too long.

    Args:
        message: the sentence, which holds the command's last words.
        output: all that the command complained about, for the log.
    """

    def __init__(self, message: str = "", output: str = "") -> None:
        super().__init__(message)
        self.output = output


class UnansweredError(CommandError):
    """A command was ended before it could answer, by us for want of patience or by somebody: it says nothing."""


class UnsafePathError(DroplanError):
    """A file or directory that only root may write can be written by others, or is a link."""


class FirewallError(DroplanError):
    """The firewall could not be read, or did not become what was asked."""


class LockedError(DroplanError):
    """Another droplan holds the lock for longer than a refresh takes."""


def said(error: BaseException) -> tuple[str, ...]:
    """List all lines that the commands which failed on the way to ``error`` complained with.

    Errors are raised anew on their way up, in words for people; what lies below them is kept in their context.
    """
    found: list[str] = []
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, CommandError):
            found = [*below.output.splitlines(), *found]
        below = below.__context__
    return tuple(found)
