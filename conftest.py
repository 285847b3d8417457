"""The Python in README.md and docs/ is run as it stands: the blocks of a page in their order, in one process."""

import pytest
from sybil import Sybil
from sybil.integration.pytest import SybilItem
from sybil.parsers.myst import PythonCodeBlockParser


pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the blocks of each page back in order after they were shuffled, and keep a page on one worker."""
    pages = [item for item in items if isinstance(item, SybilItem)]
    for page in pages:
        page.add_marker(pytest.mark.xdist_group(str(page.path)))
    pages.sort(key=lambda item: (str(item.path), item.example.start))
    items[:] = [item for item in items if not isinstance(item, SybilItem)] + pages
