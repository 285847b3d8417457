"""The Waldur agent: marketplace orders and usage reports, turned into calls of `opennebula_tenancy`."""
