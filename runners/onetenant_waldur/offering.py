"""`Offering`: an offering at work, with the Waldur that it is sold on and the cloud that it is served from."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias
from uuid import uuid4

import attrs
from structlog.typing import FilteringBoundLogger

from onetenant_waldur.components import Components
from onetenant_waldur.log import Redaction
from onetenant_waldur.network_options import in_settings
from onetenant_waldur.outage import WORK_ERRORS
from onetenant_waldur.records import OfferingTerms, ResourceRecord
from onetenant_waldur.settings import OfferingSettings, Options, read_options
from onetenant_waldur.settings_values import VM
from onetenant_waldur.vm_components import VmComponents
from onetenant_waldur.vm_terms import VmTerms
from onetenant_waldur.waldur import Waldur
from opennebula_tenancy import Cloud, SettingsError, StorageScope, VdcSpec


_PER_PROJECT = "project_slug"


@attrs.frozen
class VdcTerms:
    """An offering of tenants as Waldur and the settings have it together at the moment.

    Attributes:
        components: What it sells.
        options: What its tenants are made with.
        per_project: Whether tenants are named after the project instead of the resource.

    Raises:
        SettingsError: A value cannot be, or cannot be beside the others; all problems at once.
    """

    components: Components
    options: Options
    per_project: bool

    def __attrs_post_init__(self) -> None:
        self.options.network(sched_requirements=self.options.sched_requirements)

    def spec(
        self, resource: ResourceRecord, name: str, amounts: Mapping[str, float], subnet: str | None = None
    ) -> VdcSpec:
        """The tenant that a resource is to be.

        Args:
            resource: The resource.
            name: What to call the tenant.
            amounts: For each component the amount, in Waldur's units.
            subnet: The subnet of its network; any when None.

        Returns:
            The tenant.

        Raises:
            SettingsError: The name cannot be, or a limit that could not be enforced is asked for.
        """
        where = self.options
        network = where.network(sched_requirements=where.sched_requirements, subnet=subnet)
        return VdcSpec(
            name=name,
            key=resource.key,
            quota=self.components.quota(amounts, floating_ips=self.floating_ips),
            clusters=where.cluster_ids or None,
            zone=where.zone_id or 0,
            external_networks=(where.external_network_id,) if where.external_network_id is not None else (),
            storage_scope=where.storage_scope or StorageScope.IMAGES,
            storage_datastores=where.storage_datastores or None,
            network=network,
        )

    def probe(self) -> VdcSpec:
        """A tenant that nobody has ordered, to see whether there is all that one is made with."""
        name = f"probe-{uuid4().hex}"
        nobodys = ResourceRecord(
            uuid=uuid4(),
            name=name,
            slug=name,
            state="",
            backend_id="",
            backend_metadata={},
            limits={},
            plan=None,
            project_slug="",
        )
        return self.spec(nobodys, name, dict.fromkeys(self.components.names, 0))

    @property
    def floating_ips(self) -> bool:
        """Whether there is a network whose leases are floating IPs."""
        return self.options.external_network_id is not None

    def remarks(self) -> Iterator[str]:
        """What the operator should know, although orders are processed all the same."""
        yield from self.components.remarks
        yield from self.options.network_remarks()


Terms: TypeAlias = VdcTerms | VmTerms
"""An offering as Waldur and the settings have it together at the moment."""


@attrs.define
class Offering:
    """An offering at work.

    Attributes:
        settings: Its entry in the settings file.
        waldur: The Waldur that it is sold on.
        cloud: The cloud that it is served from.
        log: The log, with the offering's name in every event.
        redaction: What to keep out of all texts.
        expose_details: Whether the customer may read what OpenNebula said to a failed order.
    """

    settings: OfferingSettings
    waldur: Waldur
    cloud: Cloud
    log: FilteringBoundLogger
    redaction: Redaction = attrs.field(factory=Redaction)
    expose_details: bool = True
    _said: set[str] = attrs.field(factory=set, init=False)

    def terms(self) -> Terms:
        """Ask Waldur what the offering is at the moment. What is remarkable about it is logged once.

        Raises:
            SettingsError: What Waldur and the settings say together cannot be; all problems at once.
            WaldurError: Waldur did not say.
        """
        found = self.waldur.offering(self.settings.waldur_offering_uuid)
        backend = self.settings.backend_settings
        said = read_options(found.plugin_options, "plugin_options")
        try:
            terms = self._terms(found, _merged(backend, said))
        except SettingsError as error:
            raise SettingsError(*(_placed(problem, said) for problem in error.problems)) from None
        for remark in terms.remarks():
            if remark not in self._said:
                self._said.add(remark)
                self.log.warning("offering_remark", remark=remark)
        return terms

    def _terms(self, found: OfferingTerms, options: Options) -> Terms:
        overrides = self.settings.backend_components
        if self.settings.backend_settings.resource_type == VM:
            return VmTerms(VmComponents.of(found, overrides), options, found.provider)
        per_project = found.plugin_options.get("account_name_generation_policy") == _PER_PROJECT
        return VdcTerms(Components.of(found, overrides), options, per_project)

    def introduce(self) -> bool:
        """Log what is remarkable about the offering, and what it names that is not there.

        Returns:
            Whether Waldur says what it is, and OpenNebula has all that its tenants are made with.
        """
        try:
            terms = self.terms()
        except WORK_ERRORS as error:
            self.log.warning("offering_not_read", reason=str(error))
            return False
        if not (self.settings.processes_orders and isinstance(terms, VdcTerms)):
            return True
        try:
            self.cloud.vdcs.plan(terms.probe())
        except SettingsError as error:
            for problem in map(in_settings, error.problems):
                self.log.warning("offering_unfit", reason=problem)
            return False
        except WORK_ERRORS as error:
            self.log.warning("offering_not_looked_at", reason=str(error))
            return False
        return True

    def names(self, resource: ResourceRecord, terms: VdcTerms) -> Iterator[str]:
        """What a tenant may be called, best first: as today's agents call it.

        Args:
            resource: The resource.
            terms: The offering.

        Yields:
            Names.
        """
        backend = self.settings.backend_settings
        prefix = backend.allocation_prefix
        if not terms.per_project:
            yield f"{prefix}{resource.slug or resource.key}".lower()
            return
        name = f"{prefix}{resource.project_slug or resource.key}".lower()
        yield name
        for number in range(backend.backend_id_max_retries):
            yield f"{name}-{number}"


def is_of_operator(problem: str) -> bool:
    """Whether a problem, by the key that it begins with, is of a value that the operator has set."""
    return _key(problem) in attrs.fields_dict(Options)


def _key(problem: str) -> str:
    return problem.partition(":")[0].partition("[")[0]


def _merged(settings: Options, said: Options) -> Options:
    """What Waldur's plugin options say, and where they say nothing, the settings."""
    fields = [field.name for field in attrs.fields(Options)]
    return Options(
        **{name: getattr(settings, name) if getattr(said, name) is None else getattr(said, name) for name in fields}
    )


def _placed(problem: str, said: Options) -> str:
    """A problem that begins with the key of an option, with the place before it where the option stands."""
    if not is_of_operator(problem):
        return problem
    return f"{'backend_settings' if getattr(said, _key(problem)) is None else 'plugin_options'}.{problem}"
