"""The zone: `one.zone.info`, `one.zonepool.info` (Zone.cc, ZonePool.cc)."""

from typing import ClassVar

import attrs

from opennebula_tenancy.emulator import verbs
from opennebula_tenancy.emulator.calls import Call, method
from opennebula_tenancy.emulator.kinds import Kind, Right
from opennebula_tenancy.emulator.state import Cloud, PoolObject
from opennebula_tenancy.emulator.template import Template


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
