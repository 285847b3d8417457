"""`Offering`: an offering at work, with the Waldur that it is sold on and the cloud that it is served from."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from structlog.typing import FilteringBoundLogger

from onetenant_waldur.components import Components
from onetenant_waldur.log import Redaction
from onetenant_waldur.outage import WORK_ERRORS
from onetenant_waldur.records import ResourceRecord
from onetenant_waldur.settings import OfferingSettings, Placement, placement
from onetenant_waldur.waldur import Waldur
from opennebula_tenancy import Cloud, StorageScope, VdcSpec


_PER_PROJECT = "project_slug"
_NO_ROUTER = "this version makes no internal network and no router: tenants get none"


@attrs.frozen
class Terms:
    """An offering as Waldur and the settings have it together at the moment.

    Attributes:
        components: What it sells.
        placement: Where its tenants go.
        per_project: Whether tenants are named after the project instead of the resource.
    """

    components: Components
    placement: Placement
    per_project: bool

    def spec(self, resource: ResourceRecord, name: str, amounts: Mapping[str, float]) -> VdcSpec:
        """The tenant that a resource is to be.

        Args:
            resource: The resource.
            name: What to call the tenant.
            amounts: For each component the amount, in Waldur's units.

        Returns:
            The tenant.

        Raises:
            SettingsError: The name cannot be, or a limit that could not be enforced is asked for.
        """
        where = self.placement
        return VdcSpec(
            name=name,
            key=resource.key,
            quota=self.components.quota(amounts, floating_ips=self.floating_ips),
            clusters=where.cluster_ids or None,
            zone=where.zone_id or 0,
            external_networks=(where.external_network_id,) if where.external_network_id is not None else (),
            storage_scope=where.storage_scope or StorageScope.IMAGES,
            storage_datastores=where.storage_datastores or None,
        )

    @property
    def floating_ips(self) -> bool:
        """Whether there is a network whose leases are floating IPs."""
        return self.placement.external_network_id is not None

    def remarks(self) -> Iterator[str]:
        """What the operator should know, although orders are processed all the same."""
        yield from self.components.remarks
        network, router = self.placement.external_network_id, self.placement.virtual_router_template_id
        if network is not None and router is not None:
            yield f"external_network_id and virtual_router_template_id ask for networking, but {_NO_ROUTER}"
        elif network is not None:
            yield f"external_network_id without virtual_router_template_id: only floating IPs are counted; {_NO_ROUTER}"
        elif router is not None:
            yield f"virtual_router_template_id without external_network_id: half of a configuration; {_NO_ROUTER}"


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
        options = found.plugin_options
        terms = Terms(
            components=Components.of(found, self.settings.backend_components),
            placement=_merged(self.settings.backend_settings, options),
            per_project=options.get("account_name_generation_policy") == _PER_PROJECT,
        )
        for remark in terms.remarks():
            if remark not in self._said:
                self._said.add(remark)
                self.log.warning("offering_remark", remark=remark)
        return terms

    def introduce(self) -> bool:
        """Log what is remarkable about the offering, if Waldur says it.

        Returns:
            Whether it does.
        """
        try:
            self.terms()
        except WORK_ERRORS as error:
            self.log.warning("offering_not_read", reason=str(error))
            return False
        return True

    def names(self, resource: ResourceRecord, terms: Terms) -> Iterator[str]:
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


def _merged(settings: Placement, options: Mapping[str, Any]) -> Placement:
    """The placement that Waldur's plugin options say, and where they say nothing, the settings."""
    said = placement(options, "plugin_options")
    fields = [field.name for field in attrs.fields(Placement)]
    return Placement(
        **{name: getattr(settings, name) if getattr(said, name) is None else getattr(said, name) for name in fields}
    )
