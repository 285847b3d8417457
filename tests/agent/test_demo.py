"""The demonstration says so when something is not as it should be."""

import pytest

from onetenant_waldur import demo


def test_every_row_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run() == 0
    shown = capsys.readouterr().out
    assert shown.count("PASS") == 2 * 6
    assert "FAIL" not in shown
    assert "e2e-vdc-member" in shown


@pytest.mark.parametrize(
    ("what", "limits", "said"),
    [
        ("DOUBLED", {**demo.LIMITS}, "exactly the same"),
        ("LIMITS", {"gpu": 4}, "Invalid types: gpu"),
        ("LIMITS", {**demo.LIMITS, "storage": 20971521}, "cannot keep"),
    ],
)
def test_a_failure_is_shown_and_makes_the_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str, limits: dict[str, int], said: str
) -> None:
    monkeypatch.setattr(demo, what, limits)
    assert demo.run() == 1
    shown = capsys.readouterr().out
    assert shown.count("FAIL") == 2
    assert said in shown
