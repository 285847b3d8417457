"""What all tests share: a quick start, and little patience."""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from opennebula_tenancy import retreat


# Few examples and always the same, unless HYPOTHESIS_PROFILE=thorough asks for more; and no test is timed.
settings.register_profile("suite", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


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
