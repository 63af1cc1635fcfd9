"""End what takes too long, whatever it waits for: a read, a lock, a command, a peer that sends a byte a second."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def within(seconds: float, error: Exception) -> Iterator[None]:
    """Raise ``error`` in the block if it still runs after so many seconds.

    Time-outs of sockets begin anew with every byte, so no sum of them bounds anything; setitimer(2) does. A limit
    around this one goes on. Signals reach the main thread alone: in others there is no limit.

    Args:
        seconds: how long the block may take, above 0.
        error: what is raised where the block stands then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise error

    started = time.monotonic()
    outer = signal.getitimer(signal.ITIMER_REAL)[0]
    if outer and outer <= seconds:
        yield  # the limit around this one comes first
        return
    former = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - started), 0.001))
