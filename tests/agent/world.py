"""An OpenNebula, a Waldur and agents between them, all in this process and on real sockets."""

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Any
from xmlrpc.client import ServerProxy

import attrs

import opennebula_tenancy as ont
from onetenant_waldur import settings
from onetenant_waldur.agent import Agent, Mode
from onetenant_waldur.backoff import Pace, Paces
from onetenant_waldur.marketplace import BillingType, Component, Marketplace, Offering, Placed
from onetenant_waldur.waldur_calls import Patience, utc_now
from opennebula_tenancy.emulator import Config, Emulator, FaultKind
from tenants.pace import QUICK
from tenants.snapshot import snapshot


READ_S = 20.0
"""Seconds after which agents give up an answer: as good as never, on however busy a machine."""
HASTY_READ_S = 0.4
"""Seconds after which agents give up an answer where it is late on purpose. On a busy machine others may be as well."""
DELAY_S = 100.0
"""Seconds that an answer takes that is late on purpose, if its server is not stopped before."""
IMPATIENT = Patience(connect_s=20, read_s=READ_S, attempts=1, wait_s=0)
PATIENT = Patience(connect_s=20, read_s=READ_S, attempts=4, wait_s=0.001, wait_max_s=0.01)
NO_PAUSE = Pace(first_s=0, most_s=0)
AT_ONCE = Paces(outage=NO_PAUSE, denial=NO_PAUSE, order=NO_PAUSE)
"""Agents that try again in the next cycle, whenever that is."""
PLUGIN_OPTIONS = {"zone_id": 0, "cluster_ids": [0, 100]}
LIMITS = {"cpu": 4, "ram": 8192, "storage": 51200}


@attrs.define
class World:
    """Both servers, and what tests do with them."""

    server: Emulator
    waldur: Marketplace

    @contextlib.contextmanager
    def copy(self) -> "Iterator[World]":
        """A world of its own in which all is as it is here."""
        with self.server.copy() as server, self.waldur.copy() as waldur:
            yield World(server, waldur)

    @property
    def offering(self) -> Offering:
        return self.waldur.vdc

    def document(self, **changes: Any) -> dict[str, Any]:
        """A settings file as operators have it, for one offering.

        Args:
            changes: Keys of the file, of its offering (`offering_...`), or of `backend_settings` (`backend_...`).
        """
        backend = {"api_url": self.server.endpoint, "credentials": self.server.auth}
        offering: dict[str, Any] = {
            "name": "OpenNebula VDC",
            "waldur_api_url": self.waldur.api_url,
            "waldur_api_token": self.waldur.tokens["provider"],
            "waldur_offering_uuid": self.offering.uuid,
            "verify_ssl": False,
            "backend_type": "opennebula",
            "order_processing_backend": "opennebula",
            "reporting_backend": "opennebula",
            "backend_settings": backend,
            "backend_components": {},
        }
        document: dict[str, Any] = {"offerings": [offering]}
        for key, value in changes.items():
            section, _, name = key.partition("_")
            where = {"backend": backend, "offering": offering}.get(section, document)
            where[name if where is not document else key] = value
        return document

    def agent(
        self,
        document: dict[str, Any] | None = None,
        *,
        patience: Patience = IMPATIENT,
        paces: Paces = AT_ONCE,
        clock: Any = utc_now,
        read_s: float = READ_S,
    ) -> Agent:
        """A new agent, as after a start of the process."""
        return Agent(
            settings.parse(document or self.document()),
            patience=attrs.evolve(patience, read_s=read_s),
            timeout=ont.Timeout(connect_s=20, read_s=read_s),
            retry=QUICK,
            paces=paces,
            clock=clock,
        )

    def cycle(self, *modes: Mode, document: dict[str, Any] | None = None, **options: Any) -> bool:
        """One cycle of a new agent, which `options` are for: whether all went well."""
        with self.agent(document, **options) as agent:
            return agent.cycle(modes or (Mode.ORDER_PROCESS,))

    def order(self, name: str = "vdc-one", limits: dict[str, Any] | None = None) -> Placed:
        """Order a tenant, with nothing of what `limits` leaves out."""
        complete = self.complete(LIMITS if limits is None else limits)
        return self.waldur.consumer().place_order(self.offering, name, complete)

    def complete(self, limits: dict[str, Any]) -> dict[str, Any]:
        """Limits with a 0 for each component of the offering that they leave out, and that an order has to name."""
        sold = {one.type for one in self.offering.components if one.billing_type is BillingType.LIMIT}
        counted = {"cpu", "ram", "storage"}
        if "external_network_id" in self.offering.plugin_options:
            counted |= {"floating_ip"}
        return dict.fromkeys(sorted(sold & counted), 0) | limits

    def made(self, name: str = "vdc-one", limits: dict[str, Any] | None = None) -> Placed:
        """Order a tenant, and have it made."""
        placed = self.order(name, limits)
        assert self.cycle()
        assert self.waldur.order(placed.order).state == "done"
        return placed

    @contextlib.contextmanager
    def cloud(self) -> Iterator[ont.Cloud]:
        with ont.connect(self.server.endpoint, self.server.auth, retry=QUICK) as cloud:
            yield cloud

    def tenant(self, resource: str) -> ont.Vdc | None:
        """The tenant of a resource, found by its key."""
        with self.cloud() as cloud:
            return cloud.vdcs.find_key(resource)

    def quota(self, resource: str) -> ont.Quota:
        """The limits of the tenant of a resource."""
        with self.cloud() as cloud:
            tenant = cloud.vdcs.find_key(resource)
            assert tenant is not None
            return cloud.vdcs.quota(tenant.id)

    def in_opennebula(self) -> Any:
        """Everything that OpenNebula holds, free of numbers and keys that differ between runs to the same end."""
        return _without_keys(snapshot(self.server), {one.uuid for one in self.waldur.state.resources})

    def in_waldur(self, order: str, resource: str) -> dict[str, Any]:
        """What Waldur holds of an order and its resource, tenants being called by their names."""
        found, tenant = self.waldur.resource(resource), self.tenant(resource)
        metadata = dict(found.backend_metadata)
        named = tenant is not None and metadata.pop("opennebula_vdc_id", None) == tenant.vdc_id
        return {
            "order": self.waldur.order(order).state,
            "resource": found.state,
            "limits": dict(found.limits),
            "metadata": metadata,
            "points at its tenant": tenant is not None and named and found.backend_id == str(tenant.id),
        }

    def raw(self, method: str, *params: Any) -> Any:
        """A call of the administrator with nothing but the standard library."""
        with ServerProxy(self.server.endpoint) as proxy:
            ok, value, *_ = getattr(proxy, method)(self.server.auth, *params)
        assert ok, f"{method}: {value}"
        return value

    def sell(self, *components: Component) -> None:
        """Make the offering sell other components."""
        self.offering.components[:] = components


@contextlib.contextmanager
def new_world(config: Config | None = None) -> Iterator[World]:
    """Two fresh servers."""
    with Emulator(populated=True, config=config) as server, Marketplace(count_only=("provider",)) as waldur:
        waldur.vdc.plugin_options.clear()
        waldur.vdc.plugin_options.update(PLUGIN_OPTIONS)
        yield World(server, waldur)


def _without_keys(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without_keys(item, keys) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_keys(item, keys) for item in value]
    return "a key" if value in keys else value


def at(year: int, month: int, day: int) -> Any:
    """A clock that stands still."""
    return lambda: dt.datetime(year, month, day, 12, tzinfo=dt.UTC)


def read_s(kind: FaultKind) -> float:
    """How long agents wait for an answer that such a fault may befall."""
    return HASTY_READ_S if kind is FaultKind.DELAY else READ_S
