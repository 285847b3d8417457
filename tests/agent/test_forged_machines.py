"""Machines of tenants that carry the key of somebody's order."""

from agent.offers import new_offers
from opennebula_tenancy.emulator import Fault, FaultKind
from tenants.raw import Raw


def test_an_order_is_not_fulfilled_with_a_machine_that_another_tenant_has_marked() -> None:
    with new_offers() as offers:
        world = offers.world
        parent, other = offers.tenant("acme"), offers.tenant("umbrella")
        offers.sell_machines(parent)
        world.raw("one.user.allocate", "mallory", "secret", "core", [other])
        placed = offers.order("web")
        world.server.faults.arm(Fault(kind=FaultKind.DROP, method="one.template.instantiate", times=None, onwards=True))
        offers.cycle()
        world.server.faults.arm()
        assert world.waldur.order(placed.order).state == "executing"
        forged = Raw(world.server.endpoint, "mallory:secret")(
            "one.vm.allocate",
            f"NAME=evil\nCPU=1\nMEMORY=512\nTENANCY_KEY={placed.resource}\nTENANCY_ROLE=vm\nTENANCY_VERSION=1",
            False,
        )
        assert offers.cycle()
        resource = world.waldur.resource(placed.resource)
        assert (world.waldur.order(placed.order).state, resource.state) == ("done", "OK")
        held = offers.xml("one.vm.info", int(resource.backend_id), False)
        assert int(resource.backend_id) != forged
        assert (held.findtext("UID"), held.findtext("GID")) == ("0", str(parent))
        assert offers.xml("one.vm.info", forged, False).findtext("NAME") == "evil"
