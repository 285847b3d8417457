"""The server under test: the embedded one, or with ONE_XMLRPC set a live one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.caller import One
from conformance.workshop import RUN, Tenant, Workshop, workshop
from opennebula_tenancy.emulator import Config, Emulator


_POOLS = {
    "one.vmpool.info": (-2, -1, -1, -1),
    "one.templatepool.info": (-2, -1, -1),
    "one.imagepool.info": (-2, -1, -1),
    "one.vnpool.info": (-2, -1, -1),
    "one.secgrouppool.info": (-2, -1, -1),
    "one.vrouterpool.info": (-2, -1, -1),
    "one.vmgrouppool.info": (-2, -1, -1),
    "one.backupjobpool.info": (-2, -1, -1),
    "one.documentpool.info": (-2, -1, -1, 100),
    "one.userpool.info": (),
    "one.grouppool.info": (),
    "one.vdcpool.info": (),
    "one.hostpool.info": (),
    "one.datastorepool.info": (),
    "one.clusterpool.info": (),
}


@pytest.fixture(scope="session")
def one() -> Iterator[One]:
    """Calls as oneadmin. What the run leaves behind is an error."""
    endpoint = os.environ.get("ONE_XMLRPC")
    if endpoint:
        caller = One(endpoint, Path(os.environ["ONE_AUTH"]).read_text(encoding="utf-8").strip())
        yield caller
        _leaves_nothing(caller)
        return
    with Emulator(populated=True, config=Config(onegate_endpoint="")) as server:
        caller = One(server.endpoint, server.auth)
        yield caller
        _leaves_nothing(caller)


def _leaves_nothing(one: One) -> None:
    left = [
        f"{method}: {item.findtext('ID')} {item.findtext('NAME')}"
        for method, arguments in _POOLS.items()
        for item in one.xml(method, *arguments)
        if (item.findtext("NAME") or "").startswith(RUN)
    ]
    assert not left, left


@pytest.fixture
def make(one: One) -> Iterator[Workshop]:
    """Makes objects that are removed after the test."""
    with workshop(one) as made:
        yield made


@pytest.fixture
def tenant(make: Workshop) -> Tenant:
    """A tenant on cluster 0."""
    return make.tenant()


@pytest.fixture(scope="session")
def image(one: One) -> Iterator[int]:
    """A READY image of 2048 MB that everyone may use."""
    with workshop(one) as made:
        image = made.image()
        one.ok("one.image.chmod", image, -1, -1, -1, 1, -1, -1, 1, -1, -1)
        yield image
