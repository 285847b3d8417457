"""The demonstration says so when something is not as it should be."""

import re
from typing import Any

import pytest

from onetenant_waldur import demo


def test_every_row_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run() == 0
    shown = capsys.readouterr().out
    assert shown.count("PASS") == 2 * 9
    assert "FAIL" not in shown
    assert "e2e-vdc-member" in shown
    assert "external network (provider)\n      |  203.0.113." in shown
    assert re.search(r"\+-- VM \d+ \(e2e-test-vm\)  10\.0\.\d+\.2  203\.0\.113\.\d+ -> 10\.0\.\d+\.2\n", shown)


@pytest.mark.parametrize(
    ("what", "limits", "said"),
    [
        ("DOUBLED", {**demo.LIMITS}, "exactly the same"),
        ("LIMITS", {"gpu": 4}, "Invalid types: gpu"),
        ("LIMITS", {**demo.LIMITS, "storage": 20971521}, "cannot keep"),
        ("SIZES", {"Small": demo.SIZES["Small"], "Medium": {**demo.SIZES["Medium"], "vm_disk": 1024}}, "cannot shrink"),
        ("NETWORKING", {"virtual_router_template_id": 0}, "the order is executing, not done"),
    ],
)
def test_a_failure_is_shown_and_makes_the_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str, limits: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(demo, what, limits)
    assert demo.run() == 1
    shown = capsys.readouterr().out
    assert shown.count("FAIL") == 2
    assert said in shown
