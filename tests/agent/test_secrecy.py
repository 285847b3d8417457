"""No password, no session string and no token is anywhere but where it belongs, whatever goes wrong meanwhile."""

import io
import logging
import random
import traceback
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import opennebula_tenancy as ont
from agent import accounts
from agent.offers import Offers, new_offers
from agent.overheard import Overheard, as_oneadmin, in_waldur
from agent.world import PLUGIN_OPTIONS, World
from onetenant_waldur import log, settings
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.marketplace import Component, Placed
from onetenant_waldur.mischief import Mischief, Trap
from onetenant_waldur.waldur_calls import WaldurError
from opennebula_tenancy.emulator import Fault, FaultKind
from tenants.pace import QUICK


OPERATOR = "canary-of-the-operator-7f3a"
"""The password of the agent's account."""
STRANGER = "canary-that-is-wrong-91c2"
SET_METADATA = "POST /api/marketplace-provider-resources/{uuid}/set_backend_metadata/"
BOTH = (Mode.ORDER_PROCESS, Mode.REPORT)
STORM = tuple(Fault(kind=kind) for kind in FaultKind if kind not in {FaultKind.DELAY, FaultKind.REFUSE})
REFUSED = ("one.user.allocate", "one.user.chauth", SET_METADATA)
"""What orders are refused for good at."""
LIBRARIES = {"urllib3", "httpx", "httpcore", "opennebula_tenancy"}


@pytest.fixture(name="raised")
def _raised(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Every error that the library or the agent has made."""
    errors: list[BaseException] = []

    def kept(self: BaseException, *args: object) -> None:
        Exception.__init__(self, *args)
        errors.append(self)

    for kind in (ont.TenancyError, WaldurError):
        monkeypatch.setattr(kind, "__init__", kept, raising=False)
    yield errors
    errors.clear()


@pytest.fixture(name="offers")
def _offers() -> Iterator[Offers]:
    """An OpenNebula whose operator has a password that is found where it is; tenants are sold twice, and machines."""
    with new_offers() as offers:
        world = offers.world
        world.raw("one.user.passwd", 0, OPERATOR)
        world.server.auth = f"oneadmin:{OPERATOR}"
        offers.sell_machines(offers.tenant(), vm_timeout_s=60)
        world.waldur.add_offering("Second", [Component("cpu", "CPU")], plugin_options=PLUGIN_OPTIONS)
        yield offers


def second(world: World) -> Any:
    return next(one for one in world.waldur.state.offerings if one.name == "Second")


def documents(offers: Offers, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of an agent with a secret, and of one without that sells machines as well."""
    world = offers.world
    derived = accounts.document(world, accounts.secret_file(folder)) | {"log_level": "DEBUG"}
    without = accounts.document(world) | {"log_level": "DEBUG"}
    without["offerings"][0] |= {"name": "Second", "waldur_offering_uuid": second(world).uuid}
    without["offerings"] += offers.document()["offerings"]
    return derived, without


def texts_of(error: BaseException) -> str:
    """Whatever a person is shown of an error."""
    return "".join([*traceback.format_exception(error), repr(error), str(error), repr(vars(error))])


def reprs(world: World, agents: list[Agent], documents: tuple[dict[str, Any], ...]) -> str:
    """The reprs of whatever one comes upon."""
    things: list[object] = [settings.parse(document) for document in documents]
    for agent in agents:
        things += [agent, agent.redaction, *agent.offerings]
        things += [thing for one in agent.offerings for thing in (one.waldur, one.cloud, one.settings)]
        for offering in agent.offerings:
            for vdc in offering.cloud.vdcs.list():
                things += [vdc, vdc._repr_html_(), vdc.admin]
                if vdc.admin is not None:
                    things += [vdc.admin.credentials(), vdc.admin._repr_html_()]
            things += [offering.cloud.vdcs.figures(), offering.cloud.ping()]
    things += [ont.CredentialSource(secret=accounts.SECRET.encode()), ont.Credentials("somebody", OPERATOR)]
    return "\n".join(map(repr, things))


def storms_at(world: World) -> tuple[Mischief, Mischief]:
    """Random faults on both sides, while they rage."""
    opennebula, waldur = (Mischief(random.Random(seed), STORM, 0.08, Trap()) for seed in (5, 6))
    assert world.server._listener is not None
    world.server.faults = world.server._listener.faults = opennebula
    world.waldur.faults = waldur
    return opennebula, waldur


def live(world: World, config: dict[str, Any]) -> Agent:
    """A new agent that has looked for orders and reported, once."""
    agent = world.agent(config)
    agent.introduce()
    agent.cycle(BOTH)
    agent.close()
    return agent


def test_what_was_set_and_sent_in_a_stormy_run_is_shown_nowhere_but_beside_its_resource(
    offers: Offers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    raised: list[BaseException],
) -> None:
    world, stream, agents = offers.world, io.StringIO(), list[Agent]()
    overheard = Overheard.everywhere(monkeypatch)
    overheard.secrets |= {accounts.SECRET, world.waldur.tokens["provider"]}
    configs = documents(offers, tmp_path)
    caplog.set_level(logging.DEBUG)
    log.configure("DEBUG", stream=stream)  # and nothing that is taken out of it afterwards
    placed = [order(offers, kind, number) for number, kind in enumerate(("vdc", "vdc", "two", "two", "web"))]
    storms = storms_at(world)
    gone, *kept = placed[:4]
    for then in (partial(order_more, offers, placed), partial(terminate, world, gone)):
        with storms[0].rage(), storms[1].rage():
            agents += [live(world, config) for config in configs]
        agents += [live(world, config) for config in configs]
        then()
    agents += [live(world, config) for config in configs]
    assert {str(one.state) for one in world.waldur.state.orders} == {"done"}
    for number, method in enumerate(REFUSED):
        refuse(world, method, [order(offers, kind, 10 + number) for kind in ("vdc", "two")], configs)
    reset_in_vain(world, configs[0])
    ask_as_a_stranger(world, configs[0])
    agents += [live(world, config) for config in configs]
    for one in kept:
        accounts.login(world, one.resource)

    log_text, shown = stream.getvalue(), {accounts.shown(world, one.resource).password for one in kept}
    texts = {
        "log": log_text,
        "logs of the libraries": "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)]),
        "errors": "\n".join(map(texts_of, raised)),
        "reprs": reprs(world, agents[-2:], configs),
        **as_oneadmin(world),
        **in_waldur(world),
    }
    assert overheard.found_in(texts) == []
    # And there was something to be found.
    assert shown < overheard.passwords
    assert {OPERATOR, STRANGER, f"oneadmin:{OPERATOR}"} < overheard.secrets
    assert {record.name.partition(".")[0] for record in caplog.records} >= LIBRARIES
    assert all(storm.done.total() > 3 for storm in storms)
    erred = [one for one in world.waldur.state.orders if one.error_message]
    assert len(erred) == 2 * len(REFUSED)
    assert all("Traceback" in one.error_traceback for one in erred)
    assert log_text.count("order_erred") == len(erred)
    assert {ont.OutcomeUnknown, ont.AuthenticationFailed, ont.NotSent} <= {type(error) for error in raised}
    for one in kept:
        metadata = repr(world.waldur.resource(one.resource).backend_metadata)
        mine = accounts.shown(world, one.resource).password
        assert {secret for _, secret in overheard.found_in({"": metadata})} == {mine}


def order(offers: Offers, kind: str, number: int) -> Placed:
    """Order a tenant whose password is derived, one whose password is random, or a machine."""
    world = offers.world
    if kind == "two":
        return world.waldur.consumer().place_order(second(world), f"two-{number}", {"cpu": 1})
    return offers.order(f"web-{number}") if kind == "web" else world.order(f"vdc-{number}")


def order_more(offers: Offers, placed: Iterable[Placed]) -> None:
    """Order changes of what is there."""
    for one in placed:
        found = offers.world.waldur.resource(one.resource)
        if found.offering is offers.world.waldur.vm:
            offers.switch(one.resource, "Medium")
        else:
            limits = {**found.limits, "cpu": found.limits["cpu"] + 1}
            offers.world.waldur.consumer().update_limits(one.resource, limits)


def terminate(world: World, placed: Placed) -> None:
    """Order the end of what is there."""
    world.waldur.consumer().terminate(placed.resource)


def refuse(world: World, method: str, placed: list[Placed], configs: Iterable[dict[str, Any]]) -> None:
    """Have orders refused for good at a call."""
    for config in configs:
        plan, code = (world.server.faults, 0x0800) if method.startswith("one.") else (world.waldur.faults, 400)
        plan.arm(Fault(kind=FaultKind.REFUSE, method=method, code=code, times=None))
        live(world, config)
        plan.arm()
    assert {world.waldur.order(one.order).state for one in placed} == {"erred"}


def reset_in_vain(world: World, config: dict[str, Any]) -> None:
    """Reset the passwords that are derived by the library, and first lose what follows."""
    source = settings.parse(config).admin_credentials
    with ont.connect(world.server.endpoint, world.server.auth, retry=QUICK, admin_credentials=source) as cloud:
        for vdc in cloud.vdcs.list():
            if vdc.admin is not None and vdc.admin.credentials() is not None:
                world.server.faults.arm(Fault(kind=FaultKind.LOSE_REPLY, method="one.user.chauth"))
                world.server.faults.add(Fault(kind=FaultKind.REFUSE, method="one.user.info", times=None))
                with pytest.raises(ont.TenancyError):
                    vdc.admin.reset_password()
                world.server.faults.arm()
                vdc.admin.reset_password()


def ask_as_a_stranger(world: World, config: dict[str, Any]) -> None:
    """Log in with a wrong password, and where nobody listens."""
    world.order("nobodys")
    (offering,) = config["offerings"]
    for wrong in ({"credentials": f"oneadmin:{STRANGER}"}, {"api_url": "http://127.0.0.1:1/RPC2"}):
        backend = {**offering["backend_settings"], **wrong}
        live(world, {**config, "offerings": [{**offering, "backend_settings": backend}]})
