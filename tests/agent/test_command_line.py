"""The command line: the flags of today's units, exit codes, and stopping between two steps."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from agent.world import World
from onetenant_waldur import loop
from onetenant_waldur.agent import Mode
from onetenant_waldur.cli import main
from onetenant_waldur.stop import LetGo, Stop, Stopping, stop_on_signals
from opennebula_tenancy.emulator import Fault, FaultKind


SCRIPT = Path(__file__).parents[2] / "runners" / "waldur_agent.py"
DEADLINE_S = 100.0


@pytest.fixture(name="config")
def _config(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(world.document(max_workers=1)), encoding="utf-8")
    return path


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(name="process")
def _process(config: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the agent as operators' units do."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), *args, "-c", str(config)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **env})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("command", [["once"], ["run"], ["-m", "order_process"], ["-m", "report"], []])
def test_wrong_settings_are_all_said_and_end_with_two(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("offerings: [{name: 1, backend_type: opennebula, backend_settings: {zzz: x}}]", encoding="utf-8")
    result = invoke(*command, "-c", path)
    assert result.exit_code == 2
    said = result.stderr.splitlines()
    assert "offerings[0].waldur_api_token: missing" in said
    assert "offerings[0].name: expected a text, not int" in said
    assert "offerings[0].backend_settings.zzz: unknown" in said
    assert result.stdout == ""


def test_modes_that_are_not_done_are_refused_by_name(config: Path) -> None:
    result = invoke("-m", "membership_sync", "-c", config)
    assert result.exit_code == 2
    assert "'membership_sync' is not one of 'order_process', 'report'" in result.stderr


def test_options_before_a_command_that_has_its_own_are_refused(config: Path) -> None:
    assert "name -m and -c after once" in invoke("-c", config, "once").stderr


def test_once_does_both_tasks_once(world: World, config: Path) -> None:
    made = world.order()
    result = invoke("once", "-c", config)
    assert result.exit_code == 0, result.stderr
    assert world.waldur.order(made.order).state == "done"
    assert world.waldur.consumer().usages(made.resource)["cpu"] == "0.00"
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert {"order_done", "usage_reported"} <= {event["event"] for event in events}
    assert all({"level", "timestamp", "offering"} <= event.keys() for event in events)


def test_once_does_one_task_when_asked_for_it(world: World, config: Path) -> None:
    made = world.order()
    assert invoke("once", "-m", "report", "-c", config).exit_code == 0
    assert world.waldur.order(made.order).state == "pending-provider"
    assert invoke("once", "-m", "order_process", "-c", config).exit_code == 0
    assert world.waldur.consumer().usages(made.resource) == {}


def test_once_ends_with_one_when_an_order_errs(world: World, config: Path) -> None:
    world.order()
    world.server.faults.arm(Fault(kind=FaultKind.REFUSE, method="one.vdc.allocate"))
    assert invoke("once", "-c", config).exit_code == 1
    assert invoke("once", "-c", config).exit_code == 0


def test_what_the_settings_ask_for_in_vain_is_said_at_the_start(world: World, config: Path) -> None:
    document = world.document(sentry_dsn="https://sentry")
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    world.offering.plugin_options.update(virtual_router_template_id=8)
    events = [json.loads(line) for line in invoke("once", "-c", config).stderr.splitlines()]
    assert [event["remark"].split(":")[0] for event in events if "remark" in event] == [
        "sentry_dsn",
        "virtual_router_template_id without external_network_id",
    ]


class Pace:
    """Runs the loop of an agent in a thread."""

    def __init__(self, world: World, *modes: Mode, period_s: float = 0.01) -> None:
        self.stop = Stop()
        self.agent = world.agent(world.document(max_workers=1))
        periods = dict.fromkeys(modes, period_s)
        self.thread = threading.Thread(target=loop.run, args=(self.agent, periods, self.stop))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.request()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()
        self.agent.close()
        self.stop.close()


def test_the_loop_does_both_tasks_again_and_again(world: World) -> None:
    with Pace(world, *Mode):
        made = world.order()
        until(lambda: bool(world.waldur.consumer().usages(made.resource)))
        order = world.waldur.consumer().update_limits(made.resource, {"cpu": 1})
        until(lambda: world.waldur.order(order).state == "done")


def test_each_task_is_done_at_once_and_then_at_its_period(world: World) -> None:
    with Pace(world, *Mode, period_s=3600):
        until(
            lambda: (
                {"GET /api/marketplace-orders/", "GET /api/marketplace-provider-resources/"}
                <= set(world.waldur.faults.calls)
            )
        )
        world.waldur.faults.arm()
    assert world.waldur.faults.calls == ()


def test_a_request_to_stop_lets_the_order_at_hand_be_finished_and_no_other_begun(world: World) -> None:
    first, second = world.order("one"), world.order("two")
    pace = Pace(world, Mode.ORDER_PROCESS)

    def stop(call: str) -> None:
        if call.endswith("set_backend_id/"):
            pace.stop.request()

    world.waldur.before_call = stop
    with pace:
        pace.thread.join(DEADLINE_S)
    assert world.waldur.order(first.order).state == "done"
    assert world.waldur.order(second.order).state == "pending-provider"


@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_at_hand_when_its_time_is_over_is_let_go_between_two_calls(world: World, mode: Mode) -> None:
    made = world.order() if mode is Mode.ORDER_PROCESS else world.made()
    stop = Stop(grace_s=0)
    last = "set_backend_id/" if mode is Mode.ORDER_PROCESS else "refresh_last_sync/"

    def request(call: str) -> None:
        if call.endswith(last):
            stop.request()

    world.waldur.before_call = request
    world.waldur.faults.arm()
    with world.agent() as agent, contextlib.closing(stop):
        assert not agent.cycle([mode], stop)
    assert world.waldur.faults.calls[-1].endswith(last)
    world.waldur.before_call = None
    assert world.cycle(mode)
    assert world.waldur.order(made.order).state == "done"


def test_what_is_at_hand_is_let_go_between_two_calls_of_opennebula_too(world: World) -> None:
    made = world.order()
    stop = Stop(grace_s=0)
    take = world.server.faults.take

    def taking(method: str) -> Fault | None:
        if method == "one.group.allocate":
            stop.request()
        return take(method)

    world.server.faults.take = taking  # type: ignore[method-assign]
    with world.agent() as agent, contextlib.closing(stop):
        assert not agent.cycle([Mode.ORDER_PROCESS], stop)
    assert "one.vdc.addgroup" not in world.server.calls
    assert world.waldur.order(made.order).state == "executing"
    assert world.cycle()
    assert world.waldur.order(made.order).state == "done"


def test_what_is_at_hand_has_its_time_to_be_finished() -> None:
    assert not Stopping().requested
    Stopping().checkpoint()
    with contextlib.closing(Stop(grace_s=3600)) as stop:
        stop.checkpoint()
        stop.request()
        assert stop.requested
        assert stop.wait(3600)
        stop.checkpoint()
    with contextlib.closing(Stop(grace_s=0)) as stop:
        stop.request()
        with pytest.raises(LetGo):
            stop.checkpoint()


def test_what_the_library_logs_is_an_event_of_the_log_too(logged: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("opennebula_tenancy").warning("one.vdc.allocate: %s", "the connection broke")
    (event,) = logged()
    assert (event["event"], event["level"]) == ("library", "warning")
    assert event["message"] == "one.vdc.allocate: the connection broke"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_unit_of_today_is_stopped_by_a_signal_after_the_order_at_hand(
    world: World, process: Callable[..., Any], number: signal.Signals
) -> None:
    first, second = world.order("one"), world.order("two")
    agent = process("-m", "order_process", WALDUR_SITE_AGENT_ORDER_PROCESS_PERIOD_MINUTES="60")

    def stop(call: str) -> None:
        if call.endswith("set_backend_id/"):
            world.waldur.before_call = None
            agent.send_signal(number)

    world.waldur.before_call = stop
    _, logged = agent.communicate(timeout=DEADLINE_S)
    assert agent.returncode == 0, logged
    assert world.waldur.order(first.order).state == "done"
    assert world.waldur.order(second.order).state == "pending-provider"
    assert json.loads(logged.splitlines()[-1])["event"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_wakes_no_waiting_main_thread_is_a_request_all_the_same(number: signal.Signals) -> None:
    """A thread that is not the main one gets it, which stands for one that comes just before the main one waits."""
    with stop_on_signals() as stop:
        assert not stop.requested
        thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), number))
        waiting = threading.Timer(0.2, thread.start)
        waiting.start()
        begun_s = time.monotonic()
        assert stop.wait(DEADLINE_S)
        assert time.monotonic() - begun_s < DEADLINE_S / 2
        waiting.join()
        thread.join()
        assert stop.requested


def test_a_waiting_agent_stops_at_once(world: World, process: Callable[..., Any]) -> None:
    agent = process("run", "--order-process-period-minutes", "60")
    until(lambda: "GET /api/marketplace-provider-resources/" in world.waldur.faults.calls)
    agent.send_signal(signal.SIGTERM)
    agent.communicate(timeout=DEADLINE_S)
    assert agent.returncode == 0


def test_once_ends_with_one_when_the_offering_is_not_in_waldur(world: World, config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(world.offering.uuid, "f" * 32), encoding="utf-8")
    result = invoke("once", "-c", config)
    assert result.exit_code == 1
    assert "offering_not_read" in result.stderr


@pytest.mark.parametrize("command", [["run"], ["-m", "order_process"], ["-m", "report"], ["once"]])
def test_a_signal_while_the_agent_starts_is_heard_between_two_attempts(
    world: World, config: Path, command: list[str]
) -> None:
    world.waldur.faults.arm(Fault(kind=FaultKind.BAD_GATEWAY, times=None))

    def stop(_call: str) -> None:
        world.waldur.before_call = None
        os.kill(os.getpid(), signal.SIGTERM)

    world.waldur.before_call = stop
    result = invoke(*command, "-c", config)
    assert result.exit_code == (1 if command == ["once"] else 0)
    assert len(world.waldur.faults.calls) == 1
