"""What all tests share: a quick start, and little patience."""

import gc
from collections.abc import Generator

import pytest

from opennebula_tenancy import retreat


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among thousands of tests that are being collected, nor among them later on."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _no_long_waits_for_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed while it took things back is not waited for as long as one that may be alive."""
    monkeypatch.setattr(retreat, "_PATIENCE_S", 1.0)
