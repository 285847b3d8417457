"""What the recorded story does not tell: roles, refusals, lists, and the hold that a test has on the marketplace."""

import datetime as dt
import json

import pytest
import requests
from waldur_api_client.api.marketplace_orders import marketplace_orders_approve_by_provider
from waldur_api_client.models.order_approve_by_provider_request import OrderApproveByProviderRequest

from marketplace.pace import PATIENCE_S
from onetenant_waldur.marketplace import Behaviour, Component, Marketplace, OrderRefused, Plan
from opennebula_tenancy.emulator import Fault, FaultKind


LIMITS = {"cpu": 4, "ram": 8192}


@pytest.fixture
def call(waldur):
    """Call as somebody: `call("provider", "GET", "version/")`."""

    def send(role, method, path, body=None):
        headers = {"Authorization": f"Token {waldur.tokens[role]}"}
        return requests.request(method, waldur.api_url + path, json=body, headers=headers, timeout=PATIENCE_S)

    return send


def make(waldur, call, offering=None, **order):
    """A resource in use, as the agent would have made it."""
    placed = waldur.consumer().place_order(offering or waldur.vdc, "vdc-one", **{"limits": LIMITS, **order})
    for action in ("approve_by_provider", "set_state_done"):
        assert call("provider", "POST", f"marketplace-orders/{placed.order}/{action}/").ok
    return placed.resource


@pytest.mark.parametrize(
    ("role", "status"), [("staff", 200), ("provider", 200), ("manager", 403), ("consumer", 403), ("stranger", 404)]
)
@pytest.mark.parametrize("action", ["approve_by_provider", "reject_by_provider", "set_state_executing"])
def test_only_the_owner_of_the_provider_decides_orders(role, status, action, waldur, call):
    order = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS).order
    assert call(role, "POST", f"marketplace-orders/{order}/{action}/").status_code == status


@pytest.mark.parametrize(
    ("role", "status"), [("staff", 200), ("provider", 200), ("manager", 403), ("consumer", 403), ("stranger", 403)]
)
def test_only_the_owner_of_the_provider_reads_keys(role, status, waldur, call):
    path = f"marketplace-service-providers/{waldur.provider.provider_uuid}/keys/"
    assert call(role, "GET", path).status_code == status


@pytest.mark.parametrize(
    ("role", "status"), [("staff", 200), ("provider", 404), ("manager", 404), ("consumer", 200), ("stranger", 404)]
)
def test_only_the_project_changes_its_resource(role, status, waldur, call):
    resource = make(waldur, call)
    answer = call(role, "POST", f"marketplace-resources/{resource}/update_limits/", {"limits": {"cpu": 5}})
    assert answer.status_code == status


def test_a_resource_under_way_takes_no_order(waldur, call):
    placed = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS)
    with pytest.raises(OrderRefused) as refusal:
        waldur.consumer().update_limits(placed.resource, {"cpu": 5})
    assert (refusal.value.status, refusal.value.body) == (409, {"detail": "Valid states for operation: OK."})
    resource = make(waldur, call)
    waldur.consumer().terminate(resource)
    with pytest.raises(OrderRefused) as refusal:
        waldur.consumer().terminate(resource)
    assert (refusal.value.status, refusal.value.body) == (400, ["Pending order for resource already exists."])


@pytest.mark.parametrize(
    ("limits", "body"),
    [
        ({"cpu": 1.5}, {"limits": {"cpu": ["A valid integer is required."]}}),
        ({"cpu": -1}, {"limits": {"cpu": ["Ensure this value is greater than or equal to 0."]}}),
        ({"gpu": 1}, {"limits": "Invalid types: gpu"}),
    ],
)
def test_limits_that_cannot_be_are_refused(limits, body, waldur, call):
    with pytest.raises(OrderRefused) as refusal:
        waldur.consumer().update_limits(make(waldur, call), limits)
    assert (refusal.value.status, refusal.value.body) == (400, body)


@pytest.mark.parametrize(("value", "text"), [(9, "more than 8"), (1, "less than 2")])
def test_limits_out_of_bounds_are_refused_in_the_shape_of_the_endpoint(value, text, waldur, call):
    offering = waldur.add_offering("Small things", [Component("cpu", "CPU", min_value=2, max_value=8)])
    text = f"The limit {value} value cannot be {text}."
    with pytest.raises(OrderRefused) as refusal:
        waldur.consumer().place_order(offering, "one", {"cpu": value})
    assert refusal.value.body == {"non_field_errors": [text]}
    with pytest.raises(OrderRefused) as refusal:
        waldur.consumer().update_limits(make(waldur, call, offering, limits={"cpu": 4}), {"cpu": value})
    assert refusal.value.body == [text]


def test_a_rejected_change_leaves_the_resource_as_it_is(waldur, call):
    resource = make(waldur, call)
    order = waldur.consumer().update_limits(resource, {"cpu": 9})
    call("provider", "POST", f"marketplace-orders/{order}/reject_by_provider/")
    assert (waldur.resource(resource).state, waldur.resource(resource).limits) == ("OK", LIMITS)


def test_a_switch_of_plan_ends_one_period_and_begins_another(waldur, call):
    resource = make(waldur, call, waldur.vm, limits={}, plan="Small")
    order = waldur.consumer().switch_plan(resource, waldur.vm, "Medium")
    for action in ("approve_by_provider", "set_state_done"):
        call("provider", "POST", f"marketplace-orders/{order}/{action}/")
    periods = call("provider", "GET", f"marketplace-provider-resources/{resource}/plan_periods/").json()
    assert [(period["plan_name"], period["end"] is None) for period in periods] == [("Small", False), ("Medium", True)]


def test_only_offerings_of_site_agents_take_errors(waldur, call):
    basic = waldur.add_offering("Basic", [Component("cpu", "CPU")], kind="Marketplace.Basic")
    order = waldur.consumer().place_order(basic, "one", {"cpu": 1}).order
    call("provider", "POST", f"marketplace-orders/{order}/approve_by_provider/")
    body = {"error_message": "no", "error_traceback": ""}
    assert call("provider", "POST", f"marketplace-orders/{order}/set_state_erred/", body).status_code == 405
    assert call("provider", "POST", f"marketplace-orders/{order}/set_state_done/").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "marketplace-offering-users/", 404),
        ("PATCH", "marketplace-orders/{order}/", 501),
        ("GET", "marketplace-orders/?can_approve_as_provider=true", 501),
        ("GET", "marketplace-orders/{order}/set_state_done/", 405),
        ("GET", "marketplace-orders/?offering_uuid=nosuch", 400),
        ("GET", "marketplace-orders/?page=0", 404),
        ("GET", "marketplace-orders/?o=nosuch", 400),
        ("POST", "marketplace-provider-resources/", 405),
    ],
)
def test_what_is_not_there_is_said_to_be_not_there(method, path, status, waldur, call):
    order = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS).order
    assert call("provider", method, path.format(order=order)).status_code == status


def test_pages_name_those_before_and_after_them(waldur, call):
    for index in range(5):
        waldur.consumer().place_order(waldur.vdc, f"vdc-{index}", LIMITS)
    answer = call("provider", "GET", "marketplace-orders/?page=2&page_size=2&o=-created&field=resource_name")
    assert answer.json() == [{"resource_name": "vdc-2"}, {"resource_name": "vdc-1"}]
    root = f"{waldur.api_url}marketplace-orders/?field=resource_name&o=-created"
    assert answer.links["prev"]["url"] == answer.links["first"]["url"] == f"{root}&page_size=2"
    assert answer.links["next"]["url"] == answer.links["last"]["url"] == f"{root}&page=3&page_size=2"


def test_a_server_of_2024_approves_without_a_word(waldur, agent):
    waldur.state.behaviour.empty_approval = True
    order = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS).order
    with pytest.raises(json.JSONDecodeError):
        marketplace_orders_approve_by_provider.sync(order, client=agent, body=OrderApproveByProviderRequest())
    assert waldur.order(order).state == "executing"


@pytest.mark.parametrize(("stale", "state"), [(False, "done"), (True, "executing")])
def test_a_server_of_2024_remembers_the_creation_order_as_it_first_saw_it(stale, state, waldur, call):
    waldur.state.behaviour.stale_creation_order = stale
    placed = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS)
    call("provider", "POST", f"marketplace-orders/{placed.order}/approve_by_provider/")
    assert waldur.consumer().resource(placed.resource)["creation_order"]["state"] == "executing"
    call("provider", "POST", f"marketplace-orders/{placed.order}/set_state_done/")
    assert waldur.consumer().resource(placed.resource)["creation_order"]["state"] == state


def test_an_order_can_be_cancelled_between_two_calls_of_an_agent(waldur, call):
    placed = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS)
    call("provider", "POST", f"marketplace-orders/{placed.order}/approve_by_provider/")

    def cancel(method):
        if method.endswith("/set_state_done/"):
            waldur.cancel_order(placed.order)

    waldur.before_call = cancel
    assert call("provider", "POST", f"marketplace-orders/{placed.order}/set_state_done/").status_code == 409
    assert (waldur.order(placed.order).state, waldur.resource(placed.resource).state) == ("canceled", "Terminated")


def test_a_component_can_go_while_an_agent_runs(waldur, call):
    resource = make(waldur, call)
    waldur.remove_component(waldur.vdc, "ram")
    offering = call("provider", "GET", f"marketplace-provider-offerings/{waldur.vdc.uuid}/").json()
    assert [component["type"] for component in offering["components"]] == ["cpu", "floating_ip", "storage"]
    body = {"resource": resource, "usages": [{"type": "ram", "amount": "1"}]}
    answer = call("provider", "POST", "marketplace-component-usages/set_usage/", body)
    assert answer.json() == {"non_field_errors": ["These components are invalid: ram."]}


def test_an_offering_of_ones_own_has_what_it_was_given(waldur, call):
    offering = waldur.add_offering(
        "Mixed",
        [
            Component("cpu", "CPU", "cores", "limit", unit_factor=100),
            Component("hours", "Hours", "h", "usage"),
        ],
        [Plan("Gold", prices={"cpu": "2.5"}), Plan("Tin")],
        plugin_options={"zone_id": 3},
    )
    project = waldur.add_project("Project Two")
    consumer = waldur.consumer(project=project)
    placed = consumer.place_order(offering, "mine", {"cpu": 4}, plan="Gold")
    order = consumer.order(placed.order)
    assert (order["project_name"], order["cost"]) == ("Project Two", "10.0000000000")
    assert order["offering_plugin_options"] == {"zone_id": 3}
    components = consumer.resource(placed.resource)["offering_components"]
    assert {one["type"]: one["unit_factor"] for one in components} == {"cpu": 100, "hours": 1}


@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({"offering": None}, {"offering": ["Incorrect type. Expected URL string, received NoneType."]}),
        ({"project": "http://x/api/projects/nosuch/"}, {"project": ["Invalid hyperlink - Object does not exist."]}),
        ({"plan": "{vm_plan}"}, {"plan": ["This plan is not available for selected offering."]}),
        ({"limits": [1]}, {"limits": ['Expected a dictionary of items but got type "list".']}),
    ],
)
def test_an_order_that_names_what_is_not_there_is_refused(change, body, waldur, call):
    order = {
        "offering": f"{waldur.api_url}marketplace-public-offerings/{waldur.vdc.uuid}/",
        "project": f"{waldur.api_url}projects/{waldur.project.uuid}/",
    }
    change = {field: waldur.vm.plans[0].uuid if text == "{vm_plan}" else text for field, text in change.items()}
    answer = call("consumer", "POST", "marketplace-orders/", order | change)
    assert (answer.status_code, answer.json()) == (400, body)
    assert waldur.state.orders == waldur.state.resources == []


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ([], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
        ({}, {"usages": ["This field is required."]}),
        ({"usages": 1}, {"usages": {"non_field_errors": ['Expected a list of items but got type "int".']}}),
        ({"usages": [{"type": "cpu"}]}, {"usages": [{"amount": ["This field is required."]}]}),
        ({"usages": [{"type": "cpu", "amount": "many"}]}, {"usages": [{"amount": ["A valid number is required."]}]}),
        ({"usages": [{"type": "cpu", "amount": "NaN"}]}, {"usages": [{"amount": ["A valid number is required."]}]}),
        (
            {"usages": [], "plan_period": "0" * 32},
            {"plan_period": [f"Object with uuid={'0' * 32} does not exist."]},
        ),
    ],
)
def test_a_report_that_cannot_be_read_is_refused(body, refusal, waldur, call):
    answer = call("provider", "POST", "marketplace-component-usages/set_usage/", body)
    assert (answer.status_code, answer.json()) == (400, refusal)


def test_usage_can_be_reported_by_plan_period(waldur, call):
    resource = make(waldur, call)
    path = f"marketplace-provider-resources/{resource}/plan_periods/"
    body = {"plan_period": call("provider", "GET", path).json()[0]["uuid"], "usages": [{"type": "cpu", "amount": "2"}]}
    assert call("provider", "POST", "marketplace-component-usages/set_usage/", body).status_code == 201
    components = call("provider", "GET", path).json()[0]["components"]
    assert [(one["type"], one["usage"]) for one in components] == [("cpu", "2.00")]
    usage = call("consumer", "GET", f"marketplace-component-usages/{components[0]['uuid']}/?field=usage").json()
    assert usage == {"usage": "2.00"}


def test_lists_are_narrowed_by_time(waldur, call):
    waldur.consumer().place_order(waldur.vdc, "old", LIMITS)
    new = waldur.consumer().place_order(waldur.vdc, "new", LIMITS)
    since = waldur.consumer().order(new.order)["created"]
    after = call("provider", "GET", f"marketplace-orders/?created={since}&field=resource_name").json()
    until = waldur.order(new.order).created.replace(tzinfo=None).isoformat()
    before = call("provider", "GET", f"marketplace-orders/?modified_before={until}&field=resource_name").json()
    assert (after, before) == ([{"resource_name": "new"}], [{"resource_name": "old"}])
    assert call("provider", "GET", "marketplace-orders/?created=nosuch").status_code == 400


def test_anybody_sees_what_is_sold(waldur, call):
    root = f"marketplace-public-offerings/{waldur.vm.uuid}/"
    offering = call("stranger", "GET", root).json()
    assert (offering["name"], "secret_options" in offering) == ("OpenNebula VM", False)
    plans = call("stranger", "GET", f"{root}plans/").json()
    assert plans == offering["plans"]
    assert [plan["url"] for plan in plans] == [
        f"{waldur.api_url}{root}plans/{plan.uuid}/" for plan in reversed(waldur.vm.plans)
    ]


def test_the_consumers_list_has_what_the_providers_list_has(waldur, call):
    make(waldur, call)
    lists = [
        call("staff", "GET", f"marketplace-{side}/?name=VDC&o=name") for side in ("resources", "provider-resources")
    ]
    assert len(lists[0].json()) == 1
    assert lists[0].json() == lists[1].json()


def test_each_marketplace_has_its_own_memory():
    with Marketplace() as one, Marketplace() as other:
        one.consumer().place_order(one.vdc, "vdc-one", LIMITS)
        assert len(one.state.orders) == 1
        assert other.state.orders == []
        assert one.tokens["provider"] != other.tokens["provider"]


def test_a_stopped_marketplace_has_no_address():
    with Marketplace() as waldur:
        server = waldur._server
        assert server.socket.fileno() != -1
    with pytest.raises(RuntimeError, match="start"):
        _ = waldur.api_url
    assert server.socket.fileno() == -1  # its port may be somebody else's by now


def test_the_time_of_an_answer_is_that_of_the_marketplace():
    with Marketplace(clock=lambda: dt.datetime(2031, 5, 1, 12, 30, tzinfo=dt.UTC)) as waldur:
        answer = requests.get(f"{waldur.api_url}users/me/", timeout=PATIENCE_S)
    assert answer.headers["Date"] == "Thu, 01 May 2031 12:30:00 GMT"


@pytest.mark.parametrize(("status", "said"), [(429, "7"), (503, "7"), (500, None)])
def test_an_answer_that_it_is_too_busy_says_when_to_come_back(status, said):
    with Marketplace(Behaviour(retry_after="7")) as waldur:
        waldur.faults.arm(Fault(kind=FaultKind.REFUSE, code=status))
        answer = requests.get(f"{waldur.api_url}users/me/", timeout=PATIENCE_S)
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == said


def test_actions_and_conflicts_may_be_answered_without_a_body():
    with Marketplace(Behaviour(empty_actions=True, empty_conflicts=True)) as waldur:
        placed = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS)
        url = f"{waldur.api_url}marketplace-orders/{placed.order}/approve_by_provider/"
        headers = {"Authorization": f"Token {waldur.tokens['provider']}"}
        answers = [requests.post(url, json={}, headers=headers, timeout=PATIENCE_S) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b""), (409, b"")]


def test_a_copy_begins_with_what_its_original_remembers_and_goes_its_own_way(waldur):
    placed = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS)
    with waldur.copy() as twin:
        assert twin.tokens == waldur.tokens
        assert twin.order(placed.order) is not waldur.order(placed.order)
        assert twin.order(placed.order).resource is twin.resource(placed.resource)
        assert twin.order(placed.order).resource.offering is twin.vdc
        twin.cancel_order(placed.order)
        assert twin.order(placed.order).state == "canceled"
        assert waldur.order(placed.order).state == "pending-provider"
        twin.consumer().place_order(twin.vdc, "vdc-two", LIMITS)
        assert (len(twin.state.orders), len(waldur.state.orders)) == (2, 1)
