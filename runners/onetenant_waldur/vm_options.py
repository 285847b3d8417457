"""`VmOptions`: what an offering of virtual machines says about them."""

import attrs

from onetenant_waldur.settings_values import Factor, Id, Seconds, TenantRef, said_text


@attrs.frozen(kw_only=True, slots=False)  # one of the bases of `Options`
class VmOptions:
    """What is said about virtual machines. Each may stand in `backend_settings`, or in Waldur's plugin options.

    Attributes:
        parent_vdc_backend_id: The tenant that the machines are in: the id of its group, or its name.
        template_id: The VM template that they are made of.
        allowed_parent_vdcs: The tenants that an order may name besides, as ids or names; none when None.
        allowed_template_ids: The VM templates that an order may name besides; none when None.
        cpu_per_vcpu: The share of a physical core that each core of a machine is given; 1 when None.
        keep_template_nics: Whether a machine gets the interfaces of its template, behind that in the tenant's network;
            not when None.
        vm_timeout_s: How many seconds a machine may take until it runs, or is gone; 300 when None.
        vm_poweroff_timeout_s: How many seconds the system of a machine may take to shut down where another size needs
            it off, before its plug is pulled; 60 when None.
    """

    parent_vdc_backend_id: TenantRef | None = attrs.field(default=None, converter=said_text)
    template_id: Id | None = None
    allowed_parent_vdcs: tuple[TenantRef, ...] | None = None
    allowed_template_ids: tuple[Id, ...] | None = None
    cpu_per_vcpu: Factor | None = None
    keep_template_nics: bool | None = None
    vm_timeout_s: Seconds | None = None
    vm_poweroff_timeout_s: Seconds | None = None
