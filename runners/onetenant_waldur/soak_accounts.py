"""What the soak orders with administrator accounts, and how these are to be in the end."""

import hashlib
import random
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from onetenant_waldur.admin_accounts import USERNAME
from onetenant_waldur.marketplace import Consumer, Marketplace, Placed, Resource, ResourceState
from onetenant_waldur.notes import PASSWORD
from onetenant_waldur.soak_kinds import Truth, VdcKind
from opennebula_tenancy.emulator import Emulator


_OFFERING = "OpenNebula VDC with account"


class AccountKind(VdcKind):
    """VDCs with administrator accounts."""

    name = "Account"

    def prepare(self, server: Emulator, waldur: Marketplace) -> Mapping[str, Any]:
        """Sell VDCs with accounts, beside those without."""
        entry = super().prepare(server, waldur)
        offering = waldur.add_offering(_OFFERING, waldur.vdc.components, plugin_options={"cluster_ids": [0, 100]})
        backend = {**entry["backend_settings"], "create_opennebula_user": True}
        return {**entry, "name": _OFFERING, "waldur_offering_uuid": offering.uuid, "backend_settings": backend}

    def create(self, waldur: Marketplace, consumer: Consumer, rng: random.Random, name: str) -> Placed:
        """Order a VDC with an account."""
        offering = next(one for one in waldur.state.offerings if one.name == _OFFERING)
        limits = {"cpu": rng.randint(1, 64), "ram": 1024 * rng.randint(1, 64), "storage": 1024 * rng.randint(0, 9)}
        return consumer.place_order(offering, name, limits)

    def is_mine(self, waldur: Marketplace, resource: Resource) -> bool:
        """Whether it is a VDC with an account."""
        del waldur
        return resource.offering.name == _OFFERING

    def disagreements(self, truth: Truth, resource: Resource) -> Iterator[str]:
        """As of every VDC; and one account, which logs in with what Waldur shows, and a password nowhere else."""
        yield from super().disagreements(truth, resource)
        users = truth.carrying("one.userpool.info", resource.uuid)
        if resource.state is not ResourceState.OK:
            if users and resource.state is ResourceState.TERMINATED:
                yield f"{len(users)} users of what is terminated"
            return
        if len(users) != 1:
            yield f"{len(users)} users, one is due"
            return
        (user,) = users
        metadata = resource.backend_metadata
        password = str(metadata.get(PASSWORD) or "")
        shown = (metadata.get(USERNAME), hashlib.sha256(password.encode()).hexdigest())
        if shown != (user.findtext("NAME"), user.findtext("PASSWORD")):
            yield f"user {user.findtext('ID')} does not log in with what is shown"
        if any(password in ET.tostring(one, encoding="unicode") for pool in truth.pools.values() for one in pool):
            yield "OpenNebula shows its password"
