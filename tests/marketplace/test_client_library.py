"""waldur-api-client, which agents use, works against the embedded marketplace: what is sent, and what is parsed."""

import datetime as dt
from uuid import UUID

import pytest
from waldur_api_client.api.marketplace_component_usages import (
    marketplace_component_usages_list,
    marketplace_component_usages_set_usage,
)
from waldur_api_client.api.marketplace_orders import (
    marketplace_orders_approve_by_provider,
    marketplace_orders_list,
    marketplace_orders_reject_by_provider,
    marketplace_orders_retrieve,
    marketplace_orders_set_backend_id,
    marketplace_orders_set_state_done,
    marketplace_orders_set_state_erred,
    marketplace_orders_set_state_executing,
)
from waldur_api_client.api.marketplace_plans import marketplace_plans_retrieve
from waldur_api_client.api.marketplace_provider_offerings import (
    marketplace_provider_offerings_check_unique_backend_id,
    marketplace_provider_offerings_list,
    marketplace_provider_offerings_retrieve,
)
from waldur_api_client.api.marketplace_provider_resources import (
    marketplace_provider_resources_list,
    marketplace_provider_resources_plan_periods_list,
    marketplace_provider_resources_refresh_last_sync,
    marketplace_provider_resources_retrieve,
    marketplace_provider_resources_set_as_erred,
    marketplace_provider_resources_set_as_ok,
    marketplace_provider_resources_set_backend_id,
    marketplace_provider_resources_set_backend_metadata,
    marketplace_provider_resources_set_limits,
    marketplace_provider_resources_team_list,
)
from waldur_api_client.api.marketplace_service_providers import (
    marketplace_service_providers_keys_list,
    marketplace_service_providers_list,
)
from waldur_api_client.api.users import users_me_retrieve
from waldur_api_client.errors import UnexpectedStatus
from waldur_api_client.models.check_unique_backend_id_request import CheckUniqueBackendIDRequest
from waldur_api_client.models.component_usage_create_request import ComponentUsageCreateRequest
from waldur_api_client.models.component_usage_item_request import ComponentUsageItemRequest
from waldur_api_client.models.order_approve_by_provider_request import OrderApproveByProviderRequest
from waldur_api_client.models.order_backend_id_request import OrderBackendIDRequest
from waldur_api_client.models.order_error_details_request import OrderErrorDetailsRequest
from waldur_api_client.models.order_state import OrderState
from waldur_api_client.models.resource_backend_id_request import ResourceBackendIDRequest
from waldur_api_client.models.resource_backend_metadata_request import ResourceBackendMetadataRequest
from waldur_api_client.models.resource_set_limits_request import ResourceSetLimitsRequest
from waldur_api_client.models.resource_set_state_erred_request import ResourceSetStateErredRequest
from waldur_api_client.models.resource_state import ResourceState


LIMITS = {"cpu": 4, "ram": 8192, "storage": 51200, "floating_ip": 2}
APPROVAL = OrderApproveByProviderRequest()


def place(waldur, **extra):
    placed = waldur.consumer().place_order(waldur.vdc, "vdc-one", LIMITS, **extra)
    return UUID(placed.order), UUID(placed.resource)


def approve(agent, order):
    answer = marketplace_orders_approve_by_provider.sync_detailed(order, client=agent, body=APPROVAL)
    return answer.status_code


def usage(resource, *amounts, **extra):
    items = [ComponentUsageItemRequest(type_=kind, amount=amount) for kind, amount in amounts]
    return ComponentUsageCreateRequest(resource=resource, usages=items, **extra)


def test_the_agent_learns_who_it_is_and_what_it_sells(waldur, agent):
    assert users_me_retrieve.sync(client=agent).username == "provider"
    offering = marketplace_provider_offerings_retrieve.sync(UUID(waldur.vdc.uuid), client=agent)
    assert [component.type_ for component in offering.components] == ["cpu", "floating_ip", "ram", "storage"]
    assert offering.plugin_options["external_network_id"] == 10
    plan = marketplace_plans_retrieve.sync(UUID(waldur.vm.plans[0].uuid), client=agent)
    assert plan.quotas.to_dict() == {"vcpu": 1, "vm_ram": 512, "vm_disk": 5120}
    names = [one.name for one in marketplace_provider_offerings_list.sync(client=agent)]
    assert names == ["OpenNebula VDC", "OpenNebula VM"]


def test_an_order_becomes_a_resource(waldur, agent):
    order, resource = place(waldur, attributes={"subnet_cidr": "192.168.50.0/24"})
    states = [OrderState.PENDING_PROVIDER, OrderState.EXECUTING]
    pending = marketplace_orders_list.sync(client=agent, offering_uuid=UUID(waldur.vdc.uuid), state=states)
    assert [one.uuid for one in pending] == [order]
    assert pending[0].limits.to_dict() == LIMITS

    assert approve(agent, order) == 200
    assert marketplace_orders_retrieve.sync(order, client=agent).state == OrderState.EXECUTING
    body = ResourceBackendIDRequest("101")
    marketplace_provider_resources_set_backend_id.sync(resource, client=agent, body=body)
    body = ResourceBackendMetadataRequest.from_dict({"backend_metadata": {"vnet_id": 12}})
    marketplace_provider_resources_set_backend_metadata.sync(resource, client=agent, body=body)
    marketplace_orders_set_backend_id.sync(order, client=agent, body=OrderBackendIDRequest("job-1"))
    marketplace_orders_set_state_done.sync_detailed(order, client=agent)

    made = marketplace_provider_resources_retrieve.sync(resource, client=agent)
    assert (made.state, made.backend_id) == (ResourceState.OK, "101")
    assert made.backend_metadata.to_dict() == {"vnet_id": 12}
    assert made.offering_plugin_options["zone_id"] == 0
    assert made.creation_order.state == OrderState.DONE
    assert waldur.order(order.hex).backend_id == "job-1"


def test_a_second_approval_is_a_409_that_the_library_does_not_raise(waldur, agent):
    order, _resource = place(waldur)
    assert [approve(agent, order), approve(agent, order)] == [200, 409]


def test_an_agent_says_why_it_failed(waldur, agent):
    order, resource = place(waldur)
    approve(agent, order)
    body = OrderErrorDetailsRequest(error_message="no free network", error_traceback="Traceback")
    marketplace_orders_set_state_erred.sync_detailed(order, client=agent, body=body)
    assert waldur.consumer().order(order.hex)["error_message"] == "no free network"
    assert waldur.resource(resource.hex).state == "Terminated"
    marketplace_orders_set_state_executing.sync_detailed(order, client=agent)
    assert waldur.order(order.hex).state == "executing"
    body = OrderErrorDetailsRequest(error_message="no traceback")
    with pytest.raises(UnexpectedStatus) as error:
        marketplace_orders_set_state_erred.sync_detailed(order, client=agent, body=body)
    assert error.value.status_code == 500


def test_an_agent_declines(waldur, agent):
    order, resource = place(waldur)
    marketplace_orders_reject_by_provider.sync_detailed(order, client=agent, body=APPROVAL)
    assert (waldur.order(order.hex).state, waldur.resource(resource.hex).state) == ("rejected", "Terminated")


def make(waldur, agent):
    order, resource = place(waldur)
    approve(agent, order)
    marketplace_orders_set_state_done.sync_detailed(order, client=agent)
    return resource


def test_an_agent_looks_after_resources(waldur, agent):
    resource = make(waldur, agent)
    body = ResourceSetLimitsRequest.from_dict({"limits": LIMITS | {"cpu": 5}})
    marketplace_provider_resources_set_limits.sync(resource, client=agent, body=body)
    body = ResourceSetStateErredRequest(error_message="VDC is gone", error_traceback="")
    marketplace_provider_resources_set_as_erred.sync_detailed(resource, client=agent, body=body)
    listed = marketplace_provider_resources_list.sync(client=agent, offering_uuid=[UUID(waldur.vdc.uuid)])
    assert [(one.state, one.limits.to_dict()["cpu"]) for one in listed] == [(ResourceState.ERRED, 5)]
    marketplace_provider_resources_set_as_ok.sync_detailed(resource, client=agent)
    marketplace_provider_resources_refresh_last_sync.sync_detailed(resource, client=agent)
    assert waldur.resource(resource.hex).last_sync is not None
    states = [ResourceState.OK]
    assert len(marketplace_provider_resources_list.sync(client=agent, state=states, page_size=100)) == 1
    members = marketplace_provider_resources_team_list.sync(resource, client=agent)
    assert [(one.username, one.role) for one in members] == [("consumer", "admin")]
    assert len(marketplace_provider_resources_plan_periods_list.sync(resource, client=agent)) == 1


def test_every_page_of_a_list_is_read(waldur, agent):
    for index in range(12):
        waldur.consumer().place_order(waldur.vdc, f"vdc-{index}", LIMITS)
    assert len(marketplace_orders_list.sync(client=agent)) == 10
    assert len(marketplace_orders_list.sync_all(client=agent)) == 12


def test_usage_is_kept_by_component_and_month(waldur, agent):
    resource = make(waldur, agent)
    send = marketplace_component_usages_set_usage.sync_detailed
    send(client=agent, body=usage(resource, ("cpu", "2.00"), ("ram", "4096.00")))
    send(client=agent, body=usage(resource, ("cpu", "3.00")))
    last_month = dt.datetime.now(dt.UTC).replace(day=1) - dt.timedelta(days=1)
    send(client=agent, body=usage(resource, ("cpu", "7.00"), date=last_month))
    listed = marketplace_component_usages_list.sync(client=agent, resource_uuid=resource, type_="cpu")
    this_month = dt.datetime.now(dt.UTC).date().replace(day=1)
    assert [(one.usage, one.billing_period) for one in listed] == [
        ("3.00", this_month),
        ("7.00", last_month.date().replace(day=1)),
    ]
    listed = marketplace_component_usages_list.sync(client=agent, resource_uuid=resource, billing_period=this_month)
    assert {one.type_: one.usage for one in listed} == {"cpu": "3.00", "ram": "4096.00"}
    assert waldur.consumer().usages(resource.hex) == {"cpu": "3.00", "ram": "4096.00"}


def test_ssh_keys_appear_with_the_first_resource(waldur, agent):
    provider = marketplace_service_providers_list.sync(client=agent, customer_uuid=UUID(waldur.vdc.customer.uuid))[0]
    assert marketplace_service_providers_keys_list.sync(provider.uuid, client=agent) == []
    place(waldur)
    keys = marketplace_service_providers_keys_list.sync(provider.uuid, client=agent)
    assert [key.name for key in keys] == ["laptop"]


def test_a_backend_id_is_unique_until_it_is_taken(waldur, agent):
    ask = marketplace_provider_offerings_check_unique_backend_id.sync
    body = CheckUniqueBackendIDRequest(backend_id="101")
    assert ask(UUID(waldur.vdc.uuid), client=agent, body=body).is_unique is True
    resource = make(waldur, agent)
    body = ResourceBackendIDRequest("101")
    marketplace_provider_resources_set_backend_id.sync(resource, client=agent, body=body)
    body = CheckUniqueBackendIDRequest(backend_id="101")
    assert ask(UUID(waldur.vdc.uuid), client=agent, body=body).is_unique is False
