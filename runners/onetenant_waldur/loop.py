"""The agent's main loop: each task at its period, until somebody asks it to stop."""

import time
from collections.abc import Mapping

from onetenant_waldur import log
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.stop import Stop


def run(agent: Agent, periods_s: Mapping[Mode, float], stop: Stop) -> None:
    """Do each task at once and then at its period, one at a time, until asked to stop.

    Args:
        agent: The agent.
        periods_s: For each task the seconds from one beginning to the next.
        stop: When to stop: after the orders or the resource at hand, which have some time for that.
    """
    due = dict.fromkeys(periods_s, time.monotonic())
    while not stop.requested:
        mode = min(due, key=due.__getitem__)
        if stop.wait(due[mode] - time.monotonic()):
            break
        # What was missed while another task ran is not made up for.
        due[mode] = time.monotonic() + periods_s[mode]
        well = agent.cycle([mode], stop)
        log.get().info("cycle_ended", mode=str(mode), well=well)
    log.get().info("stopped")
