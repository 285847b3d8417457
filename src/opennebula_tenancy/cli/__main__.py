"""`python -m opennebula_tenancy.cli`, the same program as `onetenant`."""

from opennebula_tenancy.cli import main


main()
