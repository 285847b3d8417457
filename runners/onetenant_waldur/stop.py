"""Stopping: nothing new is begun, what is at hand may be finished for a while, and is then let go between two calls."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType


GRACE_S = 20.0
"""Seconds that orders at hand have to be finished in, once somebody has asked to stop."""


class LetGo(BaseException):
    """The work at hand is let go between two calls, as if the process had been killed there; the next run takes it up.

    It is no `Exception`: nothing that stands between the call and the end of the thread is to make anything of it.
    """


class Stopping:
    """Whether somebody has asked to stop. This one: nobody has, and nobody will."""

    @property
    def requested(self) -> bool:
        """Whether nothing new is to be begun."""
        return False

    @property
    def due(self) -> bool:
        """Whether what is at hand is to be let go."""
        return False

    def checkpoint(self) -> None:
        """Stand between two calls.

        Raises:
            LetGo: What is at hand is to be let go.
        """
        if self.due:
            raise LetGo


class AtOnce(Stopping):
    """A request to stop where nothing is at hand that would have to be finished: it leaves no time.

    Args:
        request: The request.
    """

    def __init__(self, request: Stopping) -> None:
        self._request = request

    @property
    def requested(self) -> bool:
        """Whether nothing new is to be begun."""
        return self._request.requested

    @property
    def due(self) -> bool:
        """Whether what is at hand is to be let go: as soon as that is asked for."""
        return self._request.requested


class Stop(Stopping):
    """A request to stop, made by a signal or by another thread.

    Args:
        grace_s: Seconds that what is at hand has to be finished in.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        # A pipe, since it can be written to at any moment, by a signal too, and be waited for by any thread.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._grace_s = grace_s
        self._requested_s: float | None = None

    @property
    def wakeup_fd(self) -> int:
        """The file descriptor where a byte is a request to stop."""
        return self._writer

    @property
    def requested(self) -> bool:
        """Whether nothing new is to be begun."""
        return self.wait(0)

    @property
    def due(self) -> bool:
        """Whether what is at hand has had its time."""
        return self.requested and time.monotonic() >= (self._requested_s or 0.0) + self._grace_s

    def request(self) -> None:
        """Ask to stop."""
        os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait, at most so many seconds.

        Returns:
            Whether somebody asked to stop.
        """
        if self._requested_s is None and select.select([self._reader], [], [], max(seconds, 0.0))[0]:
            self._requested_s = time.monotonic()
        return self._requested_s is not None

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a request to stop. A second one ends the process at once."""
    stop = Stop()

    def once(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)

    # What makes the request is the byte that Python writes at the very moment of the signal. A handler runs later, in
    # the main thread, once something wakes that: a signal that comes just before a wait would be heard after it.
    fd_before = signal.set_wakeup_fd(stop.wakeup_fd, warn_on_full_buffer=False)
    before = {number: signal.signal(number, once) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        stop.close()
