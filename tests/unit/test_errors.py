"""Every error: its class, its fields, and what it tells."""

import re

import pytest

import opennebula_tenancy as ont
from opennebula_tenancy.errors import RollbackIncomplete


ERRORS = [
    value for name in ont.__all__ if isinstance(value := getattr(ont, name), type) and issubclass(value, BaseException)
]


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (0x0100, "[one.user.info] User couldn't be authenticated, aborting call.", ont.AuthenticationFailed),
        (0x0200, "[one.vm.info] User [2] : Not authorized to perform USE VM [0].", ont.NotAuthorized),
        (
            0x0200,
            "[one.template.instantiate] User [0] : group [100] limit of 4 reached for CPU quota in VM.",
            ont.QuotaExceeded,
        ),
        (
            0x0200,
            "[one.vm.attachnic] User [0] : group [100] limit of 1 reached for LEASES quota in NETWORK with ID: 0.",
            ont.QuotaExceeded,
        ),
        (0x0200, "[one.group.allocate] NAME is already taken by GROUP 100.", ont.NotAuthorized),
        (0x0400, "[one.group.info] Error getting group [9999].", ont.NotFound),
        (0x0800, "[one.group.delete] Cannot delete group. Group 101 is not empty.", ont.WrongState),
        (0x1000, "[one.vmpool.info] Incorrect filter_flag", ont.BadRequest),
        (0x2000, "[one.vdc.allocate] Parse error: syntax error, unexpected $end", ont.InternalError),
        (0x2000, "[one.group.allocate] NAME is already taken by GROUP 100.", ont.AlreadyExists),
        (0x2000, "[one.vdc.allocate] NAME is already taken by Vdc 100.", ont.AlreadyExists),
        (0x2000, "[one.vdc.addgroup] Group 100 is already assigned to the VDC 100", ont.AlreadyAssigned),
        (0x2000, "[one.vdc.addcluster] CLUSTER 0 from Zone 0 is already assigned to the VDC", ont.AlreadyAssigned),
        (0x2000, "[one.vdc.delvnet] NET 2 from Zone 0 is not assigned to the VDC ", ont.InternalError),
        (0x4000, "[one.template.instantiate] Error allocating a new virtual machine template.", ont.AllocationFailed),
        (
            0x4000,
            "[one.image.allocate] Error allocating a new image. NAME is already taken by IMAGE 0.",
            ont.AlreadyExists,
        ),
        (-501, "Not enough parameters", ont.BadRequest),
        (-506, "Method 'one.foo.bar' not defined", ont.BadRequest),
        (-503, "Call XML not a proper XML-RPC call.", ont.BadRequest),
        (0x10000, "Error replicating log entry 4.", ont.ApiError),
        (0, "", ont.ApiError),
    ],
)
def test_a_code_and_a_text_stand_for_one_class(code: int, message: str, kind: type[ont.ApiError]) -> None:
    error = ont.ApiError.of("one.x.y", code, message, object_id=7, call_id="c0ffee")
    assert type(error) is kind
    assert (error.method, error.code, error.message, error.object_id, error.call_id) == (
        "one.x.y",
        code,
        message,
        7,
        "c0ffee",
    )
    text = str(error)
    assert "one.x.y was refused" in text
    assert message in text
    assert (f"0x{code:04x}" if code >= 0 else f"fault {code}") in text


def test_an_error_that_names_no_object_has_none() -> None:
    error = ont.ApiError("one.x.y", 0x400, "gone")
    assert (error.object_id, error.replication_index) == (None, None)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_one_of_this_library(kind: type[BaseException]) -> None:
    assert issubclass(kind, ont.TenancyError)
    assert kind.__doc__


def test_the_tree_of_the_documentation_is_the_tree_of_the_classes() -> None:
    tree = ont.errors.__doc__ or ""
    documented: dict[str, str] = {}
    stack: list[tuple[int, str]] = [(-1, "TenancyError")]
    for line in tree.splitlines():
        found = re.match(r"([ |]*)\+- (\w+)", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        while stack[-1][0] >= depth:
            stack.pop()
        documented[name] = stack[-1][1]
        stack.append((depth, name))
    assert documented == {kind.__name__: _parent(kind) for kind in ERRORS if kind is not ont.TenancyError}


def _parent(kind: type[BaseException]) -> str:
    return next(base.__name__ for base in kind.__bases__ if issubclass(base, ont.TenancyError))


@pytest.mark.parametrize(
    ("kind", "applied"), [(ont.NotSent, "no"), (ont.OutcomeUnknown, "maybe"), (ont.ServerUnready, "no")]
)
def test_a_transport_error_says_what_was_tried_and_whether_it_can_have_been_applied(
    kind: type[ont.TransportError], applied: str
) -> None:
    error = kind("one.vdc.allocate", "Connection refused", call_id="c0ffee")
    assert error.applied == applied
    assert (error.method, error.reason, error.call_id) == ("one.vdc.allocate", "Connection refused", "c0ffee")
    assert str(error) == "one.vdc.allocate: Connection refused [call c0ffee]"
    assert str(kind("one.vdc.allocate", "Connection refused")) == "one.vdc.allocate: Connection refused"


def test_a_settings_error_holds_all_problems_and_is_a_value_error() -> None:
    error = ont.SettingsError("name: is empty", "zone: -1 is not an id")
    assert error.problems == ("name: is empty", "zone: -1 is not an id")
    assert str(error) == "name: is empty; zone: -1 is not an id"
    assert isinstance(error, ValueError)


def test_a_tenant_that_is_not_empty_says_what_is_in_it() -> None:
    error = ont.NotEmpty("the tenant acme still has VM 12 (web)", ["VM 12 (web)"])
    assert error.leftovers == ("VM 12 (web)",)
    assert str(error) == "the tenant acme still has VM 12 (web)"


@pytest.fixture(name="incomplete")
def _incomplete() -> RollbackIncomplete:
    cause = ont.InternalError("one.vdc.addcluster", 0x2000, "database is locked", object_id=101)
    undone = ont.OutcomeUnknown("one.vdc.delete", "no answer in time")
    return RollbackIncomplete(cause, [undone], ["VDC 101 (acme)", "group 100 (acme)"])


def test_an_incomplete_rollback_is_a_group_and_an_error_of_this_library(incomplete: RollbackIncomplete) -> None:
    assert isinstance(incomplete, ExceptionGroup)
    assert isinstance(incomplete, ont.TenancyError)
    assert isinstance(incomplete.cause, ont.InternalError)
    assert incomplete.exceptions[0] is incomplete.cause
    assert isinstance(incomplete.exceptions[1], ont.OutcomeUnknown)
    assert incomplete.leftovers == ("VDC 101 (acme)", "group 100 (acme)")


def test_an_incomplete_rollback_tells_its_cause_and_what_is_left(incomplete: RollbackIncomplete) -> None:
    assert str(incomplete.cause) in str(incomplete)
    assert "left behind: VDC 101 (acme), group 100 (acme)" in str(incomplete)


def test_an_incomplete_rollback_can_be_split_and_caught_by_part(incomplete: RollbackIncomplete) -> None:
    caught: list[BaseException] = []
    try:
        raise incomplete
    except* ont.TransportError as group:
        caught.append(group)
    except* ont.ApiError as group:
        caught.append(group)
    first, second = caught
    for part, kind in ((first, ont.OutcomeUnknown), (second, ont.InternalError)):
        assert isinstance(part, RollbackIncomplete)
        assert [type(error) for error in part.exceptions] == [kind]
        assert part.leftovers == incomplete.leftovers
