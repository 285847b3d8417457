"""An OpenNebula in this process, to run and test against without one: XML-RPC over HTTP on loopback.

It behaves like a oned 7.4.0 with dummy drivers: same replies, same refusals, same texts. What it does not implement
answers as an unknown method does.
"""

from opennebula_tenancy.emulator.config import Config
from opennebula_tenancy.emulator.faults import Fault, FaultKind, FaultPlan
from opennebula_tenancy.emulator.server import Emulator


__all__ = ["Config", "Emulator", "Fault", "FaultKind", "FaultPlan"]
