"""`AgentProcess`: a real agent in a process of its own, that can be killed at any moment, and started again at once.

The processes are forked from one that has all modules loaded, so that a start takes some hundredths of a second.
"""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

import opennebula_tenancy as ont
from onetenant_waldur import log, settings
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.backoff import Pace, Paces
from onetenant_waldur.loop import run
from onetenant_waldur.stop import stop_on_signals
from onetenant_waldur.waldur_calls import Patience


_ANSWER_S = 30.0
"""Seconds that an answer may take, also on a machine that is busy with all of this."""
PATIENCE = Patience(connect_s=_ANSWER_S, read_s=_ANSWER_S, attempts=2, wait_s=0.01, wait_max_s=0.05)
RETRY = ont.RetryPolicy(attempts=3, budget_s=60, wait_s=0.002, wait_max_s=0.01, settle_s=0.005)
_HASTY = Pace(first_s=0.02, most_s=0.2)
PACES = Paces(outage=_HASTY, denial=_HASTY, order=_HASTY)
"""Agents that hurry: what is minutes elsewhere is hundredths of a second here."""
_WAIT_S = 60.0
"""Seconds after which a process that was told to end is held to hang."""


def hasty_agent(document: Mapping[str, Any], redaction: log.Redaction | None = None) -> Agent:
    """An agent that tries again soon, with a settings file's content."""
    return Agent(
        settings.parse(dict(document)),
        patience=PATIENCE,
        timeout=ont.Timeout(connect_s=_ANSWER_S, read_s=_ANSWER_S),
        retry=RETRY,
        paces=PACES,
        redaction=redaction,
    )


def _live(document: Mapping[str, Any], log_file: Path, periods_s: Mapping[str, float]) -> None:
    with log_file.open("a", encoding="utf-8", buffering=1) as stream:
        redaction = log.Redaction(settings.parse(dict(document)).secrets())
        log.configure("INFO", redaction, stream)
        with hasty_agent(document, redaction) as agent, stop_on_signals() as stop:
            if periods_s:
                run(agent, {Mode(mode): period_s for mode, period_s in periods_s.items()}, stop)
            else:
                agent.cycle([Mode.ORDER_PROCESS], stop)


@attrs.define
class AgentProcess:
    """An agent in a process of its own.

    Attributes:
        document: Its settings.
        log_file: Where its log goes.
        periods_s: For each task the seconds from one beginning to the next. Without any, it looks for orders once.
    """

    document: Mapping[str, Any]
    log_file: Path
    periods_s: Mapping[str, float] = attrs.field(factory=dict)
    _process: Any = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Start it."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._process = context.Process(target=_live, args=(self.document, self.log_file, self.periods_s), daemon=True)
        self._process.start()

    def kill(self) -> None:
        """Kill it (-9), if it is there. From any thread."""
        if self._process is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGKILL)

    @property
    def is_alive(self) -> bool:
        """Whether it is there."""
        return self._process is not None and self._process.is_alive()

    def wait(self) -> int:
        """Wait for its end.

        Returns:
            Its exit code: minus the number of the signal that has ended it.

        Raises:
            TimeoutError: It does not end.
        """
        self._process.join(_WAIT_S)
        code: int | None = self._process.exitcode
        if code is None:
            self.kill()
            raise TimeoutError(f"the agent has not ended within {_WAIT_S:.0f} s")
        return code

    def stop(self) -> int:
        """Ask it to stop, and wait for that.

        Returns:
            Its exit code.
        """
        self._process.terminate()
        return self.wait()
