"""What routers are made with, on the embedded server and on a live one."""

import attrs

from opennebula_tenancy.emulator import Emulator
from tenants.live import RUN, Live
from tenants.networks import PROVIDER, ROUTER_TEMPLATE
from tenants.raw import Raw


@attrs.frozen
class Outside:
    """What all routers are made with: a network that leads out, and a template."""

    network: int
    template: int

    @classmethod
    def of(cls, server: Emulator | Live, admin: Raw) -> "Outside":
        """What the embedded server has, or what is made on a live one."""
        if isinstance(server, Emulator):
            return cls(PROVIDER, ROUTER_TEMPLATE)
        outside = cls(leading_out(admin, "ext", "192.0.2.10"), router_template(admin, "vr"))
        server.settle()
        return outside


def leading_out(admin: Raw, name: str, first: str) -> int:
    """Make a network of twenty addresses that leads out."""
    text = f'NAME="{RUN}{name}"\nVN_MAD=bridge\nBRIDGE=br0\nAR=[TYPE=IP4,IP="{first}",SIZE=20]'
    return int(admin("one.vn.allocate", text, 0))


def router_template(admin: Raw, name: str) -> int:
    """Make a template of a router's machines."""
    text = f'NAME="{RUN}{name}"\nCPU="0.1"\nMEMORY="64"\nVROUTER="YES"\nDISK=[IMAGE_ID="0"]\nCONTEXT=[NETWORK="YES"]'
    return int(admin("one.template.allocate", text))
