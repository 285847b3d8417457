"""The agent's main loop: each task at its period, until somebody asks it to stop."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from types import FrameType

from onetenant_waldur import log
from onetenant_waldur.agent import Agent, Mode


class Stop:
    """A request to stop, made by a signal or by another thread."""

    def __init__(self) -> None:
        # A pipe, since neither locks nor conditions may be touched by a signal's handler.
        self._reader, self._writer = os.pipe()
        self.requested = False

    def request(self) -> None:
        """Ask to stop after the current step."""
        self.requested = True
        os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait, at most so many seconds.

        Returns:
            Whether somebody asked to stop.
        """
        select.select([self._reader], [], [], max(seconds, 0.0))
        return self.requested

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn SIGTERM and SIGINT into a request to stop. A second one ends the process at once."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.request()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


def run(agent: Agent, periods_s: Mapping[Mode, float], stop: Stop) -> None:
    """Do each task at once and then at its period, one at a time, until asked to stop.

    Args:
        agent: The agent.
        periods_s: For each task the seconds from one beginning to the next.
        stop: When to stop: after the order or the resource at hand.
    """
    due = dict.fromkeys(periods_s, time.monotonic())
    while not stop.requested:
        mode = min(due, key=due.__getitem__)
        if stop.wait(due[mode] - time.monotonic()):
            break
        # What was missed while another task ran is not made up for.
        due[mode] = time.monotonic() + periods_s[mode]
        well = agent.cycle([mode], lambda: stop.requested)
        log.get().info("cycle_ended", mode=str(mode), well=well)
    log.get().info("stopped")
