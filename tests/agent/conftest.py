"""Fresh servers for each test, and a log that tests can read."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.world import World, new_world
from onetenant_waldur import log


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    with new_world() as world:
        yield world


@pytest.fixture(name="logged", autouse=True)
def _logged() -> Callable[[], list[dict[str, Any]]]:
    """The events logged so far."""
    stream = io.StringIO()
    log.configure("DEBUG", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
