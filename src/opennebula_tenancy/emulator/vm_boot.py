"""What the OS and FEATURES vectors of a VM mean for its other parts (VirtualMachineParser.cc)."""

import re

from opennebula_tenancy.emulator.template import Template, Vector


_YES_OR_NO = ("PAE", "ACPI", "APIC", "HYPERV", "LOCALTIME", "GUEST_AGENT", "RAS", "MIGRATE_COMPRESSED")
_DEVICE = re.compile(r"(?P<kind>DISK|NIC)(?P<number>\d+)", re.ASCII)


def tidy_features(features: Vector | None) -> None:
    """Write the switches of FEATURES as YES or NO."""
    for name in _YES_OR_NO if features is not None else ():
        if features and features.get(name):
            features[name] = "YES" if features[name].upper() == "YES" else "NO"


def set_boot_order(body: Template) -> str | None:
    """Number the disks and NICs as OS/BOOT lists them.

    Returns:
        What is wrong with BOOT, None when it is right.
    """
    vectors = {kind: body.vectors(kind) for kind in ("DISK", "NIC")}
    for vector in (*vectors["DISK"], *vectors["NIC"]):
        vector.pop("ORDER", None)
    order = (body.vector("OS") or Vector()).get("BOOT", "")
    position = 1
    for name in filter(None, order.split(",")):
        device = _DEVICE.fullmatch(name.upper())
        if device is None:
            return f'Wrong OS/BOOT value: "{order}" should be a comma-separated list of disk# or nic#'
        key, number = f"{device['kind']}_ID", int(device["number"])
        found = [vector for vector in vectors[device["kind"]] if vector.get(key) == str(number)]
        if not found:
            return f"Wrong OS/BOOT value. Device with {key} {number} not found"
        for vector in found:
            vector["ORDER"] = str(position)
            position += 1
    return None
