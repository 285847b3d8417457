"""`VmTerms`: an offering of virtual machines as Waldur and the settings have it together at the moment."""

from collections.abc import Iterator, Mapping
from uuid import UUID

import attrs

from onetenant_waldur.settings import Options
from onetenant_waldur.vm_components import VmComponents
from opennebula_tenancy import Allowed, SettingsError, VmSize, VmSpec


_RUNNING_S = 300.0
_POWEROFF_S = 60.0


@attrs.frozen
class VmTerms:
    """An offering of virtual machines.

    Attributes:
        components: What it sells.
        options: What its machines are made with.
        provider: The organisation that sells it; None where Waldur does not say.

    Raises:
        SettingsError: A value is missing or cannot be; all problems at once.
    """

    components: VmComponents
    options: Options
    provider: UUID | None

    def __attrs_post_init__(self) -> None:
        said, problems = self.options, []
        for key, value, allowed in (
            ("template_id", said.template_id, said.allowed_template_ids),
            ("parent_vdc_backend_id", said.parent_vdc_backend_id, said.allowed_parent_vdcs),
        ):
            if value is None and not allowed:
                problems.append(f"{key}: missing: there is nothing to make virtual machines of, or in")
        try:
            self.spec(name="vm", key="key", vdc=0, template=0, size=VmSize(), ssh_keys=())
        except SettingsError as error:
            problems.extend(problem.replace("clusters:", "cluster_ids:", 1) for problem in error.problems)
        if problems:
            raise SettingsError(*problems)

    def spec(self, *, name: str, key: str, vdc: int, template: int, size: VmSize, ssh_keys: tuple[str, ...]) -> VmSpec:
        """A machine.

        Args:
            name: Its name.
            key: Its idempotency key.
            vdc: The id of its tenant.
            template: What it is made of.
            size: Its size.
            ssh_keys: The public keys that may log in.

        Raises:
            SettingsError: A value cannot be; all problems at once.
        """
        return VmSpec(
            name=name,
            key=key,
            vdc=vdc,
            template=template,
            size=size,
            ssh_keys=ssh_keys,
            clusters=self.options.cluster_ids or None,
            sched_requirements=self.options.sched_requirements,
            keep_template_nics=bool(self.options.keep_template_nics),
        )

    def size(self, limits: Mapping[str, float], plan: UUID | None) -> VmSize:
        """The size that a plan, or limits where it says nothing, stand for; see `VmComponents.size`."""
        return self.components.size(limits, plan, cpu_per_vcpu=self.options.cpu_per_vcpu)

    @property
    def allowed(self) -> Allowed:
        """What the library is to make machines of: what the operator has named, whomever it belongs to."""
        return Allowed(templates=self.templates)

    @property
    def templates(self) -> frozenset[int]:
        """The VM templates that an order may name, that of the offering among them."""
        own = () if self.options.template_id is None else (self.options.template_id,)
        return frozenset((*own, *(self.options.allowed_template_ids or ())))

    @property
    def parents(self) -> frozenset[str]:
        """The tenants that an order may name, by id or name, that of the offering among them."""
        own = () if self.options.parent_vdc_backend_id is None else (self.options.parent_vdc_backend_id,)
        return frozenset((*own, *(self.options.allowed_parent_vdcs or ())))

    @property
    def timeout_s(self) -> float:
        """How many seconds a machine may take until it runs, or is gone."""
        return _RUNNING_S if self.options.vm_timeout_s is None else self.options.vm_timeout_s

    @property
    def poweroff_timeout_s(self) -> float:
        """How many seconds the system of a machine may take to shut down, before its plug is pulled."""
        return _POWEROFF_S if self.options.vm_poweroff_timeout_s is None else self.options.vm_poweroff_timeout_s

    def remarks(self) -> Iterator[str]:
        """What the operator should know, although orders are processed all the same."""
        yield from self.components.remarks
