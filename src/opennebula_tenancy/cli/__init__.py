"""`onetenant`: the tenants of a cloud from the terminal."""

from __future__ import annotations

import sys
from importlib import import_module


NEEDED = ("click", "rich", "yaml")
"""What the extra `cli` installs."""
_USAGE = 2


def main() -> None:
    """Run the program with the command line of this process. Ends the process."""
    try:
        for module in NEEDED:
            import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name not in NEEDED:
            raise
        sys.stderr.write(
            f"onetenant: {missing.name} is not installed: install opennebula-tenancy[cli] to use this program\n"
        )
        sys.exit(_USAGE)
    # Only now: without the extra there is no click to import.
    import_module("opennebula_tenancy.cli.program").program(prog_name="onetenant")
