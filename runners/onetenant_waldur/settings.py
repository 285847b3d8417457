"""The agent's settings: the YAML file that operators of a Waldur site agent have today, read strictly."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import yaml

from onetenant_waldur import admin_settings
from onetenant_waldur.endpoints import servers_of
from onetenant_waldur.network_options import NetworkOptions
from onetenant_waldur.settings_values import (
    INFO,
    NO,
    VDC,
    VM,
    Billing,
    CaBundle,
    Credentials,
    Factor,
    Id,
    LogLevel,
    NotYet,
    Proxy,
    ResourceType,
    Secret,
    WebUrl,
    said_text,
    structure,
)
from onetenant_waldur.vm_options import VmOptions
from opennebula_tenancy import CredentialSource, Metric, SettingsError, StorageScope, VdcSpec, VmSpec


SERVED = 15
"""How many connections OpenNebula serves at once, unless its operator has changed that (MAX_CONN of oned.conf)."""
_SLUG_CHARACTERS = 50
"""How long what Waldur calls a resource in a name may be."""
OURS = "opennebula"
"""The name of this backend in `backend_type` and in the `*_backend` fields."""


@attrs.frozen(kw_only=True)
class Options(NetworkOptions, VmOptions):
    """What an offering is made with. Each may stand in `backend_settings`, or in Waldur's plugin options.

    Attributes:
        zone_id: The zone that the clusters are in.
        cluster_ids: The clusters that a tenant may use, or that a machine may be in; when empty or None all of them, or
            all of its tenant's.
        sched_requirements: Where routers and machines may run, as an expression of OpenNebula's scheduler.
        storage_scope: What counts as storage.
        storage_datastores: The image datastores that a limit of storage holds on; those of the clusters when None.
    """

    zone_id: Id | None = None
    cluster_ids: tuple[Id, ...] | None = None
    sched_requirements: str | None = attrs.field(default=None, converter=said_text)
    storage_scope: StorageScope | None = None
    storage_datastores: tuple[Id, ...] | None = None


@attrs.frozen(kw_only=True)
class Backend(Options):
    """`backend_settings`: how to reach OpenNebula, and what resources are made with.

    Attributes:
        api_url: The XML-RPC endpoint.
        credentials: `user:password`.
        verify_ssl: Whether to verify the certificate of OpenNebula.
        ca_bundle: The file of the certificates that vouch for it; those that the machine trusts when None.
        resource_type: What a resource is: a tenant (`vdc`) or a virtual machine in one (`vm`).
        terminate_vms: Whether the end of a tenant is that of its machines. It is refused while there are any if not.
        create_opennebula_user: Whether tenants get an administrator account, whose credentials Waldur shows.
        allocation_prefix: What the names of tenants begin with.
        backend_id_max_retries: How many names are tried under the policy of naming tenants after projects.
    """

    api_url: WebUrl
    credentials: Credentials = attrs.field(repr=False)
    verify_ssl: bool = True
    ca_bundle: CaBundle | None = None
    resource_type: ResourceType = VDC
    terminate_vms: bool = False
    create_opennebula_user: bool = False
    keycloak_enabled: NotYet = NO
    soft_delete: NotYet = NO
    allocation_prefix: str = ""
    backend_id_max_retries: int = 50

    @property
    def verify(self) -> bool | str:
        """Whether to verify the certificate of OpenNebula, or the file of those that vouch for it."""
        return self.ca_bundle or self.verify_ssl


ELSEWHERE = frozenset(
    {
        # of machines that serve models
        "model", "model_image_id", "engine_image_id",
        # of logins
        "keycloak", "saml_mapping_file", "default_user_role", "vdc_roles",
        # of the stock agent's core; numeric ids need no check of uniqueness
        "project_prefix", "check_backend_id_uniqueness", "check_all_offerings", "default_account",
        "default_homedir_umask",
    }
)  # fmt: skip
"""Keys of `backend_settings` that existing files carry and this agent has no use for."""


@attrs.frozen(kw_only=True)
class ComponentOverride:
    """An entry of `backend_components`: what is said here counts more than what Waldur says.

    Attributes:
        unit_factor: How many of OpenNebula's units one of Waldur's is.
        unit_factor_reporting: The same once more: there is one factor for all directions.
        accounting_type: How it is billed.
        metric: What OpenNebula counts for it, where its name does not say so: `DATASTORE/SIZE`.
    """

    unit_factor: Factor | None = None
    unit_factor_reporting: Factor | None = None
    accounting_type: Billing | None = None
    metric: Metric | None = None


@attrs.frozen(kw_only=True)
class OfferingSettings:
    """An entry of `offerings`.

    Attributes:
        name: What the log calls it.
        waldur_api_url: The root of Waldur's API.
        waldur_api_token: The token of a user who may manage the offering's orders and resources.
        waldur_offering_uuid: The offering in Waldur.
        verify_ssl: Whether to verify the certificate of Waldur.
        ca_bundle: The file of the certificates that vouch for it; those that the machine trusts when None.
        backend_type: Whose settings `backend_settings` are.
        backend_settings: How to reach OpenNebula.
        backend_components: What is to be said about components otherwise than Waldur says it.
        order_processing_backend: Who processes the orders. Where all such fields are empty, this agent does all.
        reporting_backend: Who reports usage.
        membership_sync_backend: Who synchronises members; never this agent.
        stomp_enabled: Whether Waldur tells of orders; this agent asks instead.
    """

    name: str
    waldur_api_url: WebUrl
    waldur_api_token: Secret = attrs.field(repr=False)
    waldur_offering_uuid: UUID
    verify_ssl: bool = True
    ca_bundle: CaBundle | None = None
    backend_type: str
    backend_settings: Backend
    backend_components: Mapping[str, ComponentOverride] = attrs.field(factory=dict)
    order_processing_backend: str | None = None
    reporting_backend: str | None = None
    membership_sync_backend: str | None = None
    stomp_enabled: bool = False

    @property
    def verify(self) -> bool | str:
        """Whether to verify the certificate of Waldur, or the file of those that vouch for it."""
        return self.ca_bundle or self.verify_ssl

    @property
    def processes_orders(self) -> bool:
        """Whether this agent processes its orders."""
        return self._does(self.order_processing_backend)

    @property
    def reports_usage(self) -> bool:
        """Whether this agent reports its usage."""
        return self._does(self.reporting_backend)

    def _does(self, field: str | None) -> bool:
        none_is_set = not (self.order_processing_backend or self.reporting_backend or self.membership_sync_backend)
        return none_is_set or field == OURS

    def secrets(self) -> Iterator[str]:
        """What must not appear in any text that leaves the agent."""
        yield self.waldur_api_token
        credentials = self.backend_settings.credentials
        yield credentials
        yield credentials.partition(":")[2]


@attrs.frozen(kw_only=True)
class General:
    """What stands beside `offerings`.

    Attributes:
        timezone: Whose months are the months of usage reports.
        global_proxy: The proxy on the way to Waldur.
        log_level: From which level on to log.
        expose_backend_error_details: Whether the customer may read what OpenNebula said to a failed order.
        max_workers: How many orders are carried out at the same time, at most.
        max_connections: How many calls of one OpenNebula this process has under way at once, at most. It serves 15 in
            all, those of other processes among them.
        max_attempts: After how many errors that the agent did not expect an order is ended. Outages do not count.
        admin_secret_file: The file with the secret that the passwords of administrator accounts are derived from.
        admin_secret_env: The environment variable that it is in instead.
    """

    timezone: ZoneInfo = attrs.field(factory=lambda: ZoneInfo("UTC"))
    global_proxy: Proxy | None = attrs.field(default=None, repr=False)
    log_level: LogLevel = INFO
    expose_backend_error_details: bool = True
    max_workers: int = 4
    max_connections: int = 4
    max_attempts: int = 5
    admin_secret_file: str | None = attrs.field(default=None, repr=False)
    admin_secret_env: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Settings:
    """The whole file.

    Attributes:
        general: What holds for all offerings.
        offerings: The offerings that are this agent's.
        remarks: What the file asks for and this agent does not do, to be said once.
        admin_credentials: Where the passwords of administrator accounts come from.
    """

    general: General
    offerings: tuple[OfferingSettings, ...]
    remarks: tuple[str, ...] = ()
    admin_credentials: CredentialSource = attrs.field(factory=CredentialSource)

    def secrets(self) -> frozenset[str]:
        """What must not appear in any text that leaves the agent."""
        secrets = {secret for offering in self.offerings for secret in offering.secrets()}
        secrets.add(urlsplit(self.general.global_proxy or "").password or "")
        secrets.update(admin_settings.texts(self.admin_credentials))
        return frozenset(secret for secret in secrets if secret)


def load(path: Path) -> Settings:
    """Read a settings file.

    Args:
        path: The YAML file.

    Returns:
        The settings.

    Raises:
        SettingsError: The file cannot be read, or a value in it cannot be: all problems at once, each with its path.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not a text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        # The error's own texts quote what is there, which may be a password.
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = (error.problem or "not YAML").partition(" '")[0]
        raise SettingsError(f"{path}{line}: {problem}") from None
    except (yaml.YAMLError, ValueError):
        raise SettingsError(f"{path}: not YAML; is there a text that needs quotes?") from None
    return parse(document)


def parse(document: Any) -> Settings:
    """Check and convert what a settings file says.

    Args:
        document: The file's content, of dictionaries and lists.

    Returns:
        The settings.

    Raises:
        SettingsError: A value cannot be: all problems at once, each with its path.
    """
    if not isinstance(document, dict):
        raise SettingsError("the settings: expected a mapping with the key offerings")
    entries = document.get("offerings")
    if not isinstance(entries, list) or not entries:
        raise SettingsError("offerings: expected a list with at least one offering")
    problems: list[str] = []
    remarks = list(_remarks(document))
    general = structure(document, General, "", problems)
    offerings: list[OfferingSettings] = []
    for index, entry in enumerate(entries):
        path = f"offerings[{index}]"
        if _is_foreign(entry):
            remarks.append(f"{path}: of another backend, left to its agent")
            continue
        offering = structure(entry, OfferingSettings, path, problems)
        problems.extend(_entry_problems(entry, path))
        if offering is not None:
            problems.extend(_component_problems(offering, path))
            problems.extend(_certificate_problems(offering, path))
            problems.extend(_prefix_problems(offering.backend_settings, f"{path}.backend_settings"))
            remarks.extend(_offering_remarks(offering, path))
            offerings.append(offering)
    if general is not None:
        problems.extend(_bound_problems(general, offerings))
    source = admin_settings.read_source(document, problems)
    accounts = any(one.backend_settings.create_opennebula_user for one in offerings)
    remarks.extend(admin_settings.remarks(document, source, accounts=accounts))
    uuids = [offering.waldur_offering_uuid for offering in offerings]
    problems.extend(f"offerings: {uuid} stands there twice" for uuid in sorted(set(uuids)) if uuids.count(uuid) > 1)
    if not offerings and not problems:
        problems.append(f"offerings: none has the backend {OURS}")
    if problems or general is None:
        raise SettingsError(*problems)
    return Settings(general=general, offerings=tuple(offerings), remarks=tuple(remarks), admin_credentials=source)


_NOT_DONE = ("sentry_dsn", "elastic_apm_server_url")


def read_options(options: Mapping[str, Any], path: str) -> Options:
    """Read plugin options, which carry much else.

    Args:
        options: The plugin options of an offering, as Waldur has them.
        path: What to call them in a problem.

    Returns:
        What they say.

    Raises:
        SettingsError: A value cannot be: all problems at once.
    """
    problems: list[str] = []
    found = structure(dict(options), Options, path, problems)
    if found is None:
        raise SettingsError(*problems)
    return found


def _is_foreign(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(kind := entry.get("backend_type"), str):
        return False
    fields = ("order_processing_backend", "reporting_backend", "membership_sync_backend")
    return kind.lower() != OURS and all(entry.get(field) != OURS for field in fields)


def _remarks(document: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{key}: not done by this agent" for key in _NOT_DONE if document.get(key))
    shipping = document.get("log_shipping")
    if isinstance(shipping, dict) and shipping.get("enabled"):
        yield "log_shipping: not done by this agent"


def accounts_of(offerings: Iterable[OfferingSettings]) -> Mapping[str, frozenset[tuple[str, str, bool | str]]]:
    """The accounts that are called with, by their server: address, credentials, and what certificates to trust."""
    found = (one.backend_settings for one in offerings)
    accounts = {(one.api_url, one.credentials, one.verify) for one in found}
    servers = servers_of(sorted(address for address, *_ in accounts))
    return {
        server: frozenset(account for account in accounts if servers[account[0]] == server)
        for server in sorted(set(servers.values()))
    }


def _bound_problems(general: General, offerings: list[OfferingSettings]) -> Iterator[str]:
    for name in ("max_workers", "max_attempts"):
        if getattr(general, name) < 1:
            yield f"{name}: expected a whole number from 1"
    most = general.max_connections
    if not 1 <= most <= SERVED:
        yield f"max_connections: expected a whole number from 1 to {SERVED}, which is all that OpenNebula serves"
        return
    for server, accounts in accounts_of(offerings).items():
        if len(accounts) > most:
            yield f"max_connections: {most} are too few for the {len(accounts)} accounts at {server}"


def _entry_problems(entry: Any, path: str) -> Iterator[str]:
    """What is wrong with an offering beside the values of its fields."""
    if isinstance(entry, dict):
        yield from _unknown_keys(entry.get("backend_settings"), f"{path}.backend_settings")
        if entry.get("oidc_token_url") and not entry.get("waldur_api_token"):
            yield f"{path}.oidc_token_url: not done by this version; set waldur_api_token"


def _unknown_keys(section: Any, path: str) -> Iterator[str]:
    if not isinstance(section, dict):
        return
    known = {field.name for field in attrs.fields(Backend)}
    for key in section:
        if key not in known | ELSEWHERE:
            near = difflib.get_close_matches(str(key), known | ELSEWHERE, 1)
            yield f"{path}.{key}: unknown" + (f"; is {near[0]} meant?" if near else "")


def _component_problems(offering: OfferingSettings, path: str) -> Iterator[str]:
    for name, component in offering.backend_components.items():
        if component.unit_factor_reporting not in {None, component.unit_factor or Fraction(1)}:
            yield (
                f"{path}.backend_components.{name}.unit_factor_reporting: "
                "one factor applies to orders and reports alike; set unit_factor alone"
            )


def _certificate_problems(offering: OfferingSettings, path: str) -> Iterator[str]:
    for place, said in ((path, offering), (f"{path}.backend_settings", offering.backend_settings)):
        if said.ca_bundle is not None and not said.verify_ssl:
            yield f"{place}.ca_bundle: verify_ssl is false, so that no certificate is looked at; leave one of them out"


def _prefix_problems(backend: Backend, path: str) -> Iterator[str]:
    """What is wrong with the beginning of all names, shown by the longest name that there may be."""
    name = f"{backend.allocation_prefix}{'x' * _SLUG_CHARACTERS}"
    try:
        if backend.resource_type == VM:
            VmSpec(name=name, vdc=0, template=0)
        else:
            VdcSpec(name=name.lower(), admin=backend.create_opennebula_user)
    except SettingsError as error:
        yield from (f"{path}.allocation_prefix: {problem}" for problem in error.problems)


def _offering_remarks(offering: OfferingSettings, path: str) -> Iterator[str]:
    if offering.membership_sync_backend == OURS:
        yield f"{path}.membership_sync_backend: members are not synchronised by this agent"
    if offering.stomp_enabled:
        yield f"{path}.stomp_enabled: this agent asks for orders periodically, and listens to no events"
