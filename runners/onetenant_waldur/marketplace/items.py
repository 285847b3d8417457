"""What orders and resources have in common: the thing ordered, and from whom."""

from typing import Any

from onetenant_waldur.marketplace.endpoints import Call, jsonb, stamp
from onetenant_waldur.marketplace.offerings import public_plan_url
from onetenant_waldur.marketplace.records import Order, Resource


def show_item(call: Call, item: Order | Resource) -> dict[str, Any]:
    """The fields that an order and a resource begin with. Those of the plan are missing when there is none."""
    offering, plan = item.offering, item.plan
    shown: dict[str, Any] = {
        "offering": f"{call.root}marketplace-public-offerings/{offering.uuid}/",
        "offering_name": offering.name,
        "offering_uuid": offering.uuid,
        "offering_description": offering.description,
        "offering_image": None,
        "offering_thumbnail": None,
        "offering_type": offering.type,
        "offering_terms_of_service": "",
        "offering_shared": True,
        "offering_billable": True,
        "offering_plugin_options": jsonb(offering.plugin_options),
        "provider_name": offering.customer.name,
        "provider_uuid": offering.customer.uuid,
        "category_title": "Cloud",
        "category_uuid": call.state.category_uuid,
        "category_icon": None,
        "plan": public_plan_url(call.root, offering, plan) if plan else None,
    }
    if plan:
        shown |= {
            "plan_unit": "month",
            "plan_name": plan.name,
            "plan_uuid": plan.uuid,
            "plan_description": plan.description,
        }
    return shown | {
        "attributes": jsonb(item.attributes),
        "limits": jsonb(item.limits),
        "uuid": item.uuid,
        "created": stamp(item.created),
        "modified": stamp(item.modified),
    }


def show_project(call: Call, item: Order | Resource) -> dict[str, Any]:
    """The project of an order or a resource, and its organisation."""
    project = item.project
    return {
        "project": f"{call.root}projects/{project.uuid}/",
        "project_uuid": project.uuid,
        "project_name": project.name,
        "project_description": project.description,
    }
