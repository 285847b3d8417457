"""Two runs for one tenant that take turns: one works while the other stands still between two of its calls."""

import threading
import time
from collections.abc import Callable
from typing import Self

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import waiting


DEADLINE_S = 60.0
Hear = Callable[[ont.CallRecord], None]


class Turns:
    """Lets one run work at a time. It passes the turn after so many calls, when it waits, and when it ends.

    Args:
        calls: After how many calls the first run, and the second one, passes its turn.
    """

    def __init__(self, *calls: int) -> None:
        self._left = list(calls)
        self._runs: dict[threading.Thread, int] = {}
        self._turn = 0
        self._passed = threading.Condition()
        self._sleep = time.sleep

    def run(self, *works: Callable[[Hear], object]) -> list[BaseException]:
        """Do pieces of work side by side; the first one begins.

        Args:
            works: Each gets what is to hear of each of its calls.

        Returns:
            What went wrong.
        """
        failed: list[BaseException] = []

        def one(work: Callable[[Hear], object]) -> None:
            try:
                self._await_turn()
                work(self._hear)
            except BaseException as error:  # noqa: BLE001 - all is told, by the test
                failed.append(error)
            finally:
                self._pass(for_good=True)

        threads = [threading.Thread(target=one, args=(work,), daemon=True) for work in works]
        self._runs = {thread: number for number, thread in enumerate(threads)}
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        return failed

    def sleep(self, seconds: float) -> None:
        """Stands for `time.sleep`: a run that waits lets the other one work."""
        if threading.current_thread() in self._runs:
            self._pass()
        else:
            self._sleep(seconds)

    def _hear(self, _: ont.CallRecord) -> None:
        number = self._runs[threading.current_thread()]
        self._left[number] -= 1
        if self._left[number] == 0:
            self._pass()

    def _pass(self, *, for_good: bool = False) -> None:
        number = self._runs[threading.current_thread()]
        with self._passed:
            if for_good:
                del self._runs[threading.current_thread()]
            others = [other for other in self._runs.values() if other != number]
            self._turn = others[0] if others else number
            self._passed.notify_all()
        if not for_good:
            self._await_turn()

    def _await_turn(self) -> None:
        number = self._runs[threading.current_thread()]
        with self._passed:
            assert self._passed.wait_for(lambda: self._turn == number, DEADLINE_S)

    @classmethod
    def patched(cls, monkeypatch: pytest.MonkeyPatch, *calls: int) -> Self:
        """Turns that also pass wherever the library waits."""
        turns = cls(*calls)
        monkeypatch.setattr(time, "sleep", turns.sleep)
        monkeypatch.setitem(waiting.wait_for.__kwdefaults__, "sleep", turns.sleep)
        return turns
