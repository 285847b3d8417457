"""What the package offers: names, documentation, and values that can be looked at for free."""

import inspect
import socket
import types
from importlib.resources import files
from typing import Any

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy import display, plan, vdcs, vms


NAMES = [
    "AdminUser",
    "AllocationFailed",
    "Allowed",
    "AlreadyAssigned",
    "AlreadyExists",
    "ApiError",
    "AuthenticationFailed",
    "BadRequest",
    "CallRecord",
    "Change",
    "Cloud",
    "Component",
    "Conflict",
    "CredentialSource",
    "Credentials",
    "Diagram",
    "DuplicateObject",
    "EnteredFailureState",
    "FloatingIp",
    "InternalError",
    "Limit",
    "Machine",
    "Metric",
    "Network",
    "NetworkSpec",
    "NotAuthorized",
    "NotEmpty",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Ping",
    "Plan",
    "PoolExhausted",
    "ProtocolViolation",
    "Quota",
    "QuotaExceeded",
    "QuotaMapper",
    "ResetIncomplete",
    "RetryPolicy",
    "RollbackIncomplete",
    "Router",
    "SecurityRule",
    "ServerUnready",
    "SettingsError",
    "Step",
    "StorageScope",
    "SubnetPool",
    "TenancyError",
    "Timeout",
    "TransportError",
    "Usage",
    "Utilisation",
    "Vdc",
    "VdcFigures",
    "VdcSpec",
    "VerificationFailed",
    "Vm",
    "VmFigures",
    "VmSize",
    "VmSpec",
    "VmStatus",
    "VmUsage",
    "WaitTimeout",
    "WentAway",
    "WrongState",
    "connect",
]


def test_the_package_exports_exactly_these_names() -> None:
    assert ont.__all__ == sorted(ont.__all__) == NAMES


def test_nothing_public_is_importable_that_is_not_exported() -> None:
    found = {name for name, value in vars(ont).items() if name[0] != "_" and not isinstance(value, types.ModuleType)}
    assert found == set(NAMES)


def test_the_package_is_typed() -> None:
    assert (files(ont) / "py.typed").is_file()


def _public() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name in (*NAMES,):
        value = getattr(ont, name)
        found.append((name, value))
        if inspect.isclass(value):
            found.extend(_members(name, value))
    return (
        found
        + list(_members("Vdcs", vdcs.Vdcs))
        + list(_members("Vms", vms.Vms))
        + list(_members("Table", display.Table))
        + [("plan", plan)]
    )


def _members(name: str, kind: type) -> list[tuple[str, Any]]:
    return [
        (f"{name}.{attribute}", value)
        for attribute, value in vars(kind).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod))
    ]


@pytest.mark.parametrize(("name", "value"), _public(), ids=lambda value: value if isinstance(value, str) else "")
def test_everything_public_is_documented(name: str, value: Any) -> None:
    assert len(inspect.getdoc(value) or "") > 10, name
    assert inspect.getdoc(value) != inspect.getdoc(object), name


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_a_public_function_is_annotated(name: str) -> None:
    value = getattr(ont, name)
    functions = [value] if inspect.isfunction(value) else [found for _, found in _members(name, value)]
    for function in functions:
        if inspect.isfunction(function):
            unannotated = [
                parameter.name
                for parameter in inspect.signature(function).parameters.values()
                if parameter.annotation is inspect.Parameter.empty and parameter.name != "self"
            ]
            assert not unannotated, f"{name}.{function.__name__}: {unannotated}"


def test_looking_at_a_value_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a value that is only looked at opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with ont.connect("http://127.0.0.1:9/RPC2", "oneadmin:opennebula") as cloud:
        vdc = ont.Vdc(100, 101, "acme", "k", cloud.vdcs)
        values = [
            cloud,
            cloud.vdcs,
            cloud.vms,
            vdc,
            ont.Vm(7, "web", "k", 100, cloud.vms),
            ont.VmSpec(name="web", vdc=100, template=0),
            ont.VmSize(vcpu=1),
            ont.VmStatus(3, 3),
            ont.NetworkSpec(external_network=0, router_template=8),
            ont.SubnetPool("10.0.0.0/16"),
            ont.SecurityRule("inbound", "tcp", ports="22"),
            ont.Credentials("acme_admin", "secret"),
            ont.CredentialSource(secret=b"16 bytes or more"),
            ont.VdcSpec(name="acme"),
            ont.NetworkSpec(external_network=0, router_template=8),
            ont.SubnetPool("10.0.0.0/8"),
            ont.SecurityRule("inbound", "tcp", ports="22"),
            ont.Quota(cpu=1),
            ont.Usage(),
            ont.Plan("acme", (ont.Change("create", "group acme"),)),
            ont.QuotaMapper(),
            ont.Timeout(),
            ont.RetryPolicy(),
        ]
        for value in values:
            assert repr(value)
            assert str(value)
            assert isinstance(bool(value), bool)
            assert value == value  # noqa: PLR0124 - equality is what is tried
            assert isinstance(getattr(value, "_repr_html_", str)(), str)
        assert hash(vdc) == hash(ont.Vdc(100, 101, "acme", "k", cloud.vdcs))
        assert vdc == ont.Vdc(100, 101, "acme", "k", cloud.vdcs)
        assert vdc != ont.Vdc(102, 101, "acme", "k", cloud.vdcs)
        assert repr(vdc) == "Vdc(id=100, vdc_id=101, name='acme', key='k', admin=None)"
