"""A marketplace of its own for each test, and the client library as the agent has it."""

import httpx
import pytest
from waldur_api_client import AuthenticatedClient

from marketplace.pace import PATIENCE_S
from onetenant_waldur.marketplace import Marketplace


@pytest.fixture
def waldur():
    with Marketplace() as marketplace:
        yield marketplace


@pytest.fixture
def agent(waldur):
    """The library with the provider's token."""
    address = waldur.api_url.removesuffix("/api/")
    token, timeout = waldur.tokens["provider"], httpx.Timeout(PATIENCE_S)
    with AuthenticatedClient(base_url=address, token=token, prefix="Token", timeout=timeout) as client:
        yield client
