"""The zone: `one.zone.*`, `one.zonepool.info` (ZoneAPI.cc). It is the local one of an OpenNebula without federation."""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.errors import internal, not_allocated
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.template import Template


FIRST_ID = 100
"""Ids below belong to the system."""


@attrs.define(eq=False, kw_only=True)
class Zone(PoolObject):
    """A zone: an OpenNebula of a federation. This one is alone."""

    kind: ClassVar[Kind] = Kind.ZONE

    def xml(self, cloud: Cloud) -> str:  # noqa: ARG002 - every object reads so
        """The body."""
        return (
            f"<ZONE><ID>{self.id}</ID><NAME>{self.name}</NAME><STATE>0</STATE>{self.template.xml()}"
            "<SERVER_POOL></SERVER_POOL></ZONE>"
        )


def bootstrap(cloud: Cloud) -> None:
    """The zone of a new cloud."""
    template = Template([("ENDPOINT", "http://localhost:2633/RPC2"), ("ENDPOINT_GRPC", "localhost:2634")])
    cloud.pool(Zone).add(Zone(name="OpenNebula", template=template))


@method("one.zone.info", Kind.ZONE, Right.USE, ignores_lock=True)
def info(call: Call, oid: int, decrypt: bool = False) -> str:  # noqa: ARG001 - nothing is encrypted here
    """Returns zone information."""
    return verbs.info(call, Zone, oid)


@method("one.zonepool.info", Kind.ZONE)
def pool_info(call: Call) -> str:
    """Returns the zone pool."""
    return verbs.pool_xml("ZONE_POOL", (zone.xml(call.cloud) for zone in call.visible(Zone)))


@method("one.zone.allocate", Kind.ZONE, Right.CREATE)
def allocate(call: Call, text: str) -> int:  # noqa: ARG001 - refused whatever it says
    """Allocates a new zone, which only the master of a federation does."""
    raise not_allocated("New zones can only be created at federation master")


@method("one.zone.rename", Kind.ZONE, Right.MANAGE)
def rename(call: Call, oid: int, name: str) -> int:
    """Renames a zone."""
    verbs.rename(call, Zone, oid, name)
    return oid


@method("one.zone.update", Kind.ZONE, Right.MANAGE)
def update(call: Call, oid: int, text: str, mode: int = 0) -> int:
    """Updates the template of a zone."""
    return verbs.update(call, Zone, oid, text, mode).id


@method("one.zone.delete", Kind.ZONE, Right.ADMIN)
def delete(call: Call, oid: int) -> int:
    """Deletes a zone, unless it is one of the system's."""

    def drop(zone: Zone) -> None:
        if zone.id < FIRST_ID:
            raise internal(f"System Zones (ID < {FIRST_ID}) cannot be deleted.")
        call.cloud.pool(Zone).remove(zone)

    return verbs.delete(call, Zone, oid, drop)
