"""The settings file: what operators have works, and what cannot be is said all at once, with its path."""

from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from onetenant_waldur import settings
from opennebula_tenancy import SettingsError, StorageScope


UUID_TEXT = "26767d945b3b44d7966ea7562a6e70d3"
PASSWORD = "canary-password"
TOKEN = "canary-token"

FULL = f"""
sentry_dsn: ""
timezone: Europe/Tallinn
global_proxy: null
log_level: debug
reporting_periods: 2
expose_backend_error_details: false
some_other_key: 1
log_shipping: {{enabled: false, ship_interval_seconds: 60}}
offerings:
  - name: "OpenNebula VDC"
    waldur_api_url: "https://waldur.example.com/api/"
    waldur_api_token: "{TOKEN}"
    waldur_offering_uuid: "{UUID_TEXT}"
    oidc_token_url: null
    backend_type: "OpenNebula"
    order_processing_backend: "opennebula"
    membership_sync_backend: ""
    reporting_backend: "opennebula"
    username_management_backend: "base"
    stomp_enabled: false
    websocket_use_tls: true
    verify_ssl: false
    resource_import_enabled: false
    backend_settings:
      api_url: "http://opennebula-host:2633/RPC2"
      credentials: "oneadmin:{PASSWORD}"
      zone_id: 0
      cluster_ids: [0, "100"]
      resource_type: "VDC"
      create_opennebula_user: false
      external_network_id: 10
      virtual_router_template_id: 8
      vn_mad: vxlan
      vxlan_phydev: "eth0"
      default_dns: "8.8.8.8"
      internal_network_base: "10.0.0.0"
      internal_network_prefix: 8
      subnet_prefix_length: 24
      sched_requirements: HYPERVISOR=kvm
      security_group_defaults: [{{direction: INBOUND, protocol: TCP, range: "22:22"}}]
      allocation_prefix: "W_"
      project_prefix: ""
      storage_scope: both
    backend_components:
      ram: {{measured_unit: GB, unit_factor: 1024, accounting_type: limit, label: RAM, limit: 10, extra: 1}}
"""


def minimal(**backend: Any) -> dict[str, Any]:
    return {
        "offerings": [
            {
                "name": "OpenNebula VDC",
                "waldur_api_url": "http://localhost:8000/api",
                "waldur_api_token": TOKEN,
                "waldur_offering_uuid": UUID_TEXT,
                "backend_type": "opennebula",
                "backend_settings": {
                    "api_url": "http://opennebula-host:2633/RPC2",
                    "credentials": f"oneadmin:{PASSWORD}",
                    **backend,
                },
                "backend_components": {},
            }
        ]
    }


def problems(document: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        settings.parse(document)
    return caught.value.problems


def test_a_file_with_every_field_that_operators_have_is_read() -> None:
    found = settings.parse(yaml.safe_load(FULL))
    (offering,) = found.offerings
    assert offering.waldur_offering_uuid == UUID(UUID_TEXT)
    assert offering.backend_settings.cluster_ids == (0, 100)
    assert offering.backend_settings.storage_scope is StorageScope.BOTH
    assert offering.backend_settings.allocation_prefix == "W_"
    assert offering.backend_components["ram"].unit_factor == 1024
    assert not offering.verify_ssl
    assert (found.general.timezone.key, found.general.log_level) == ("Europe/Tallinn", "DEBUG")
    assert not found.general.expose_backend_error_details
    assert found.remarks == ()


def test_the_least_that_a_file_says_is_read() -> None:
    (offering,) = settings.parse(minimal()).offerings
    assert offering.backend_settings.cluster_ids is None
    assert offering.verify_ssl
    assert (offering.processes_orders, offering.reports_usage) == (True, True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (True, True)),
        ({"order_processing_backend": "opennebula"}, (True, False)),
        ({"reporting_backend": "opennebula"}, (False, True)),
        ({"order_processing_backend": "opennebula", "reporting_backend": "other"}, (True, False)),
        ({"membership_sync_backend": "opennebula"}, (False, False)),
        ({"order_processing_backend": "", "reporting_backend": None}, (True, True)),
    ],
)
def test_the_backend_fields_choose_the_tasks_and_where_none_is_set_all_are_done(
    fields: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    document = minimal()
    document["offerings"][0].update(fields)
    (offering,) = settings.parse(document).offerings
    assert (offering.processes_orders, offering.reports_usage) == expected


def test_all_problems_are_named_at_once_with_their_paths() -> None:
    document = minimal(
        api_url="opennebula-host",
        credentials="oneadmin",
        cluster_ids=[0, "x"],
        resource_type="host",
        create_opennebula_user="perhaps",
        zone_id=-1,
        storage_scope="all",
    )
    document["timezone"] = "Mars/Olympus"
    document["log_level"] = "loud"
    document["expose_backend_error_details"] = "perhaps"
    offering = document["offerings"][0]
    del offering["waldur_api_token"]
    offering["waldur_offering_uuid"] = "26767d94"
    offering["waldur_api_url"] = "ftp://waldur"
    offering["name"] = 7
    offering["backend_components"] = {"cpu": {"unit_factor": 0}, "ram": {"accounting_type": "free", "metric": "VM/GPU"}}
    document["offerings"].append("nonsense")
    expected = {
        "timezone": "there is no time zone Mars/Olympus",
        "log_level": "expected one of CRITICAL",
        "expose_backend_error_details": "expected true or false",
        "offerings[0].name": "expected a text, not int",
        "offerings[0].waldur_api_url": "expected an address that begins with http:// or https://",
        "offerings[0].waldur_api_token": "missing",
        "offerings[0].waldur_offering_uuid": "expected a UUID",
        "offerings[0].backend_settings.api_url": "expected an address",
        "offerings[0].backend_settings.credentials": "expected user:password",
        "offerings[0].backend_settings.cluster_ids[1]": "expected a whole number from 0, not 'x'",
        "offerings[0].backend_settings.zone_id": "expected a whole number from 0, not -1",
        "offerings[0].backend_settings.resource_type": "expected vdc or vm, not host",
        "offerings[0].backend_settings.create_opennebula_user": "expected true or false",
        "offerings[0].backend_settings.storage_scope": "expected one of images, disks, both",
        "offerings[0].backend_components.cpu.unit_factor": "expected a number above 0, not 0",
        "offerings[0].backend_components.ram.accounting_type": "expected one of usage, limit, one, few, fixed",
        "offerings[0].backend_components.ram.metric": "expected one of VM/CPU",
        "offerings[1]": "expected a mapping",
    }
    found = dict(problem.split(": ", 1) for problem in problems(document))
    assert found.keys() == expected.keys()
    assert {path: text for path, text in found.items() if not text.startswith(expected[path])} == {}


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        ({"resource_type": "tenant"}, "resource_type: expected vdc or vm, not tenant"),
        ({"create_opennebula_user": 1}, "create_opennebula_user: expected true or false"),
        ({"keycloak_enabled": True}, "keycloak_enabled: not done by this version; expected false"),
        ({"soft_delete": True}, "soft_delete: not done by this version; expected false"),
        ({"cluster_id": [0]}, "cluster_id: unknown; is cluster_ids meant?"),
        ({"qqq": 1}, "qqq: unknown"),
        ({"api_url": "http://me:secret@host/RPC2"}, "api_url: no user and no password in the address"),
        ({"api_url": "http://host:port/RPC2"}, "api_url: expected an address"),
        ({"credentials": ":x"}, "credentials: expected user:password"),
        ({"credentials": None}, "credentials: missing"),
    ],
)
def test_what_cannot_be_is_never_silently_accepted(backend: dict[str, Any], problem: str) -> None:
    (found,) = problems(minimal(**backend))
    assert found.startswith(f"offerings[0].backend_settings.{problem}")


def test_a_login_that_is_not_done_by_this_version_is_refused_by_name() -> None:
    document = minimal()
    document["offerings"][0].update(waldur_api_token="", oidc_token_url="https://id", oidc_client_id="me")
    assert problems(document) == (
        "offerings[0].waldur_api_token: missing",
        "offerings[0].oidc_token_url: not done by this version; set waldur_api_token",
    )


def test_two_factors_for_one_component_are_refused() -> None:
    document = minimal()
    document["offerings"][0]["backend_components"] = {
        "ram": {"unit_factor": 1024, "unit_factor_reporting": 1},
        "cpu": {"unit_factor": 2, "unit_factor_reporting": 2.0},
    }
    (found,) = problems(document)
    assert found.startswith("offerings[0].backend_components.ram.unit_factor_reporting: one factor applies")


@pytest.mark.parametrize(("factor", "exact"), [(1024, 1024), (0.1, Fraction(1, 10)), ("0.5", Fraction(1, 2))])
def test_a_factor_stands_for_the_digits_that_were_written(factor: Any, exact: Fraction) -> None:
    document = minimal()
    document["offerings"][0]["backend_components"] = {"cpu": {"unit_factor": factor}}
    (offering,) = settings.parse(document).offerings
    assert offering.backend_components["cpu"].unit_factor == exact


@pytest.mark.parametrize("document", [None, [], "text", {}, {"offerings": None}, {"offerings": []}, {"offerings": {}}])
def test_a_file_without_offerings_is_refused(document: Any) -> None:
    assert len(problems(document)) == 1


def test_an_offering_that_stands_there_twice_is_refused() -> None:
    document = minimal()
    document["offerings"] *= 2
    assert problems(document) == (f"offerings: {UUID(UUID_TEXT)} stands there twice",)


def test_offerings_of_other_backends_are_left_to_their_agents() -> None:
    document = minimal()
    document["offerings"].insert(0, {"name": "HPC", "backend_type": "slurm", "backend_settings": {"anything": 1}})
    found = settings.parse(document)
    assert [offering.name for offering in found.offerings] == ["OpenNebula VDC"]
    assert found.remarks == ("offerings[0]: of another backend, left to its agent",)
    assert problems({"offerings": document["offerings"][:1]}) == ("offerings: none has the backend opennebula",)


def test_what_the_agent_does_not_do_is_remarked_on() -> None:
    document = {**minimal(), "sentry_dsn": "https://sentry", "log_shipping": {"enabled": True}}
    document["offerings"][0].update(membership_sync_backend="opennebula", stomp_enabled=True)
    assert [remark.split(":")[0] for remark in settings.parse(document).remarks] == [
        "sentry_dsn",
        "log_shipping",
        "offerings[0].membership_sync_backend",
        "offerings[0].stomp_enabled",
    ]


def test_no_repr_and_no_problem_shows_a_secret() -> None:
    found = settings.parse(minimal())
    assert PASSWORD not in repr(found)
    assert TOKEN not in repr(found)
    assert found.secrets() == {TOKEN, PASSWORD, f"oneadmin:{PASSWORD}"}
    for credentials in (PASSWORD, f":{PASSWORD}", [PASSWORD]):
        assert PASSWORD not in str(problems(minimal(credentials=credentials)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"offerings:\n  - credentials: 'oneadmin:{PASSWORD}\n", "line 3: found unexpected end of stream"),
        (f"a: b: {PASSWORD}", "line 1: mapping values are not allowed here"),
        (f"token: *{PASSWORD}", "line 1: found undefined alias"),
        (f"token: !{PASSWORD}", "line 1: could not determine a constructor for the tag"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_without_quoting_it(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        settings.load(path)
    assert caught.value.problems == (f"{path}, {reason}",)


def test_a_file_that_cannot_be_read_is_a_problem_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        settings.load(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not a text in UTF-8"):
        settings.load(tmp_path / "binary.yaml")


def test_plugin_options_are_read_for_what_they_say_among_much_else() -> None:
    options = {"zone_id": 1, "cluster_ids": None, "external_network_id": "10", "vxlan_phydev": "eth0", "other": {}}
    found = settings.read_options(options, "plugin_options")
    assert (found.zone_id, found.cluster_ids, found.external_network_id) == (1, None, 10)
    with pytest.raises(SettingsError) as caught:
        settings.read_options({"cluster_ids": ["x"], "external_network_id": -3}, "plugin_options")
    assert {problem.split(": ")[0] for problem in caught.value.problems} == {
        "plugin_options.cluster_ids[0]",
        "plugin_options.external_network_id",
    }


def test_a_value_that_yaml_itself_cannot_read_is_refused_without_quoting_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("waldur_api_token: 2024-13-45", encoding="utf-8")
    with pytest.raises(SettingsError, match="not YAML") as caught:
        settings.load(path)
    assert "2024" not in str(caught.value)


def test_a_token_is_taken_without_the_line_end_of_a_block_and_must_fit_a_header() -> None:
    document = yaml.safe_load(FULL)
    document["offerings"][0]["waldur_api_token"] = f"{TOKEN}\n"
    assert settings.parse(document).offerings[0].waldur_api_token == TOKEN
    for token in ("canary-tøken", "canary\ntoken"):
        document["offerings"][0]["waldur_api_token"] = token
        with pytest.raises(SettingsError, match=r"offerings\[0\].waldur_api_token: expected a token") as caught:
            settings.parse(document)
        assert token not in str(caught.value)


def test_a_proxy_is_an_address_and_its_password_a_secret() -> None:
    document = yaml.safe_load(FULL)
    document["global_proxy"] = f"http://someone:{PASSWORD}@proxy:3128"
    found = settings.parse(document)
    assert PASSWORD in found.secrets()
    assert PASSWORD not in repr(found)
    document["global_proxy"] = f"proxy.example:{PASSWORD}@host:3128"
    with pytest.raises(SettingsError, match="global_proxy: expected an address") as caught:
        settings.parse(document)
    assert PASSWORD not in str(caught.value)


def test_bounds_that_leave_nothing_are_problems() -> None:
    document = minimal()
    document |= {"max_workers": 0, "max_connections": 0, "max_attempts": 0}
    assert problems(document) == (
        *(f"{name}: expected a whole number from 1" for name in ("max_workers", "max_attempts")),
        "max_connections: expected a whole number from 1 to 15, which is all that OpenNebula serves",
    )
    assert problems({**minimal(), "max_connections": 16}) == (
        "max_connections: expected a whole number from 1 to 15, which is all that OpenNebula serves",
    )


def test_an_opennebula_has_to_allow_each_of_its_accounts_a_connection() -> None:
    document = minimal()
    first = document["offerings"][0]
    for number in range(2):
        document["offerings"].append(
            {
                **first,
                "waldur_offering_uuid": f"{number:032}",
                "backend_settings": {**first["backend_settings"], "credentials": f"user{number}:secret"},
            }
        )
    assert settings.parse({**document, "max_connections": 3}).general.max_connections == 3
    address = first["backend_settings"]["api_url"]
    assert problems({**document, "max_connections": 2}) == (
        f"max_connections: 2 are too few for the 3 accounts at {address}",
    )


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("foo/bar-", "has '/', which OpenNebula does not take in one"),
        ("a b", "has ' ', which OpenNebula does not take in one"),
        ("x" * 100, "is longer than 128 bytes"),
        ("ä" * 40, "is longer than 128 bytes"),
    ],
)
def test_a_prefix_that_no_tenant_can_be_called_by_is_a_problem(prefix: str, why: str) -> None:
    document = minimal()
    document["offerings"][0]["backend_settings"]["allocation_prefix"] = prefix
    (problem,) = problems(document)
    assert problem.startswith("offerings[0].backend_settings.allocation_prefix: the group name ")
    assert problem.endswith(why)


def test_machines_may_be_called_what_tenants_may_not() -> None:
    document = minimal()
    document["offerings"][0]["backend_settings"] |= {"resource_type": "vm", "allocation_prefix": "web of "}
    assert settings.parse(document).offerings[0].backend_settings.allocation_prefix == "web of "
    document["offerings"][0]["backend_settings"]["allocation_prefix"] = "a;b"
    assert "the virtual machine name" in problems(document)[0]
