"""The consumer's side of the API, for tests and the demonstration: order, change, look."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

import attrs
import requests

from onetenant_waldur.marketplace.records import Offering, Plan, Project


TIMEOUT_S = 30.0
"""Seconds to wait for an answer. The server is on this machine."""


class OrderRefused(Exception):
    """The marketplace did not do what was asked.

    Attributes:
        status: HTTP status.
        body: What the marketplace said.
    """

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"HTTP {status}: {body}")
        self.status = status
        self.body = body


@attrs.frozen
class Placed:
    """An order for a new resource.

    Attributes:
        order: UUID of the order.
        resource: UUID of the resource that it is to become.
    """

    order: str
    resource: str


@attrs.frozen
class Consumer:
    """Somebody who orders into a project. No call waits for an agent.

    Attributes:
        api_url: Root of the API.
        token: Whose it is decides what is allowed.
        project: Where to order.
    """

    api_url: str
    token: str = attrs.field(repr=False)
    project: Project

    def place_order(
        self,
        offering: Offering,
        name: str,
        limits: Mapping[str, int] | None = None,
        attributes: Mapping[str, Any] | None = None,
        plan: Plan | str | None = None,
    ) -> Placed:
        """Order a new resource.

        Args:
            offering: What to order.
            name: Name of the resource.
            limits: Amount by component type, for components that have limits.
            attributes: Further fields of the order form.
            plan: Plan, or the name of one. The offering's first plan when omitted.

        Raises:
            OrderRefused: With the status and the words of the marketplace.
        """
        body = {
            "offering": f"{self.api_url}marketplace-public-offerings/{offering.uuid}/",
            "plan": self._plan_url(offering, plan),
            "project": f"{self.api_url}projects/{self.project.uuid}/",
            "attributes": {"name": name, **(attributes or {})},
            "limits": dict(limits or {}),
            "type": "Create",
        }
        order = self._call("POST", "marketplace-orders/", body)
        return Placed(order["uuid"], order["marketplace_resource_uuid"])

    def update_limits(self, resource: str, limits: Mapping[str, int]) -> str:
        """Order other limits for a resource; the UUID of the order."""
        return self._change(resource, "update_limits", {"limits": dict(limits)})

    def switch_plan(self, resource: str, offering: Offering, plan: Plan | str) -> str:
        """Order another plan for a resource; the UUID of the order."""
        return self._change(resource, "switch_plan", {"plan": self._plan_url(offering, plan)})

    def terminate(self, resource: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Order the end of a resource; the UUID of the order."""
        return self._change(resource, "terminate", {"attributes": dict(attributes or {})})

    def order(self, uuid: str) -> dict[str, Any]:
        """An order as it is now."""
        return dict(self._call("GET", f"marketplace-orders/{uuid}/"))

    def resource(self, uuid: str) -> dict[str, Any]:
        """A resource as it is now."""
        return dict(self._call("GET", f"marketplace-resources/{uuid}/"))

    def usages(self, resource: str) -> dict[str, str]:
        """What was reported of a resource most recently: amount by component type."""
        rows = self._call("GET", f"marketplace-component-usages/?resource_uuid={resource}&page_size=300")
        return {row["type"]: row["usage"] for row in reversed(rows)}

    def _plan_url(self, offering: Offering, plan: Plan | str | None) -> str:
        if not isinstance(plan, Plan):
            plan = next(one for one in offering.plans if plan in {None, one.name})
        return f"{self.api_url}marketplace-public-offerings/{offering.uuid}/plans/{plan.uuid}/"

    def _change(self, resource: str, action: str, body: dict[str, Any]) -> str:
        return str(self._call("POST", f"marketplace-resources/{resource}/{action}/", body)["order_uuid"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Token {self.token}"}
        with requests.Session() as session:
            session.trust_env = False  # a proxy is no way to this machine
            url = urljoin(self.api_url, path)
            response = session.request(method, url, json=body, headers=headers, timeout=TIMEOUT_S)
        if not response.ok:
            raise OrderRefused(response.status_code, response.json() if response.content else None)
        return response.json()
