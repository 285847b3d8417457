"""The Python in README.md and docs/ runs as it stands, the blocks of a page one after the other."""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser


ROOT = Path(__file__).parents[2]
PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in page.read_text()
]
SYBIL = Sybil(parsers=[PythonCodeBlockParser()], path=str(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path) -> None:
    blocks = list(SYBIL.parse(page).examples())
    assert len(blocks) == page.read_text().count("```python")
    for block in blocks:
        block.evaluate()


def test_the_pages_that_show_code_are_known() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "tutorial.md", "limits.md", "emulator.md"}
