"""A marketplace of its own for each test, and the client library as the agent has it."""

import pytest
from waldur_api_client import AuthenticatedClient

from onetenant_waldur.marketplace import Marketplace


@pytest.fixture
def waldur():
    with Marketplace() as marketplace:
        yield marketplace


@pytest.fixture
def agent(waldur):
    """The library with the provider's token."""
    address = waldur.api_url.removesuffix("/api/")
    with AuthenticatedClient(base_url=address, token=waldur.tokens["provider"], prefix="Token") as client:
        yield client
