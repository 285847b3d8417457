"""Forks of this process: agents that wait for their settings, and die like any process."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from agent.world import World
from onetenant_waldur import log
from onetenant_waldur.agent import Mode


KILLED = -signal.SIGKILL
_BROKEN = 70


class Fork:
    """A fork of this process that does one thing and ends. This process must have no other thread by then.

    Args:
        work: What it does. Its result is the exit code.
    """

    def __init__(self, work: Callable[[], int]) -> None:
        assert threading.active_count() == 1, threading.enumerate()
        self._lock = threading.Lock()
        self._code: int | None = None
        self._pid = os.fork()
        if not self._pid:
            code = _BROKEN
            try:
                code = work()
            except BaseException:  # noqa: BLE001  nothing of it is to go on in the fork
                traceback.print_exc()
            finally:
                os._exit(code)

    def kill(self) -> int:
        """Kill it (-9), and see it dead. From any thread, as long as nobody has waited for its end.

        Returns:
            Its exit code.
        """
        os.kill(self._pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end. From any thread.

        Returns:
            Its exit code: minus the number of the signal that has ended it.
        """
        with self._lock:
            if self._code is None:
                self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            return self._code


class AgentFork(Fork):
    """An agent in a process of its own, which begins once it is told its settings. Untold, it ends with this process.

    Args:
        world: How agents of tests are made.
        log_file: Where its log goes.
    """

    def __init__(self, world: World, log_file: Path) -> None:
        self._world, self._log_file = world, log_file
        self._inbox, self._outbox = multiprocessing.Pipe(duplex=False)
        super().__init__(self._live)
        self._inbox.close()

    def begin(self, document: dict[str, Any], modes: Collection[Mode]) -> None:
        """Let it begin.

        Args:
            document: Its settings.
            modes: What it does, once.
        """
        self._outbox.send((document, modes))

    def _live(self) -> int:
        self._outbox.close()
        try:
            document, modes = self._inbox.recv()
        except EOFError:
            return _BROKEN
        with self._log_file.open("w", encoding="utf-8", buffering=1) as stream:
            log.configure("INFO", stream=stream)
            with self._world.agent(document) as agent:
                return 0 if agent.cycle(modes) else 1


def be_alone(within_s: float) -> None:
    """Wait for the end of all other threads.

    Raises:
        TimeoutError: One does not end.
    """
    deadline_s = time.monotonic() + within_s
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(deadline_s - time.monotonic())
            if thread.is_alive():
                raise TimeoutError(f"{thread} does not end")
