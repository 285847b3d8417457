"""A short soak: random orders, random faults on both sides, agents killed at random; in the end both sides agree."""

import re
from pathlib import Path

import pytest

from onetenant_waldur.soak import Plan, Soak
from onetenant_waldur.soak_kinds import VdcKind


pytestmark = pytest.mark.timeout(600)
DEADLINE_S = 300.0
"""Seconds for what takes some: as good as for ever, on however busy a machine."""


@pytest.mark.parametrize(("seed", "agents"), [(1, 1), (2, 2)])
def test_both_sides_agree_after_everything_has_gone_wrong(tmp_path: Path, seed: int, agents: int) -> None:
    soak = Soak(Plan(orders=24, seed=seed, kills=8, agents=agents, deadline_s=DEADLINE_S), tmp_path)
    figures = soak.run()
    assert figures.problems == [], figures.text()
    assert figures.placed.total() == 24
    assert len(figures.placed) >= 3
    assert {what.rpartition(" ")[2] for what in figures.placed} == {"VDC", "Net", "VM", "Account"}
    assert figures.kills > 0
    assert figures.faults.total() > 0
    assert figures.ended.total() == 24
    assert set(figures.ended) <= {"done", "erred", "canceled"}
    logs = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.log"))
    created = [one.resource for one in soak._waldur.state.orders if (one.type, one.state) == ("Create", "done")]
    passwords = [one.backend_metadata.get("opennebula_password") for one in soak._waldur.state.resources]
    # How many accounts there are, and whether any was not cancelled, is a matter of who was faster.
    assert any(passwords) or not any(one.name.startswith("account") for one in created)
    assert not any(password in logs for password in passwords if password)
    assert "a secret of the soak" not in logs
    assert "order_done" in logs
    assert "oneadmin:opennebula" not in logs
    assert not re.search(r"\b[0-9a-f]{40}\b", logs)


def test_a_disagreement_is_found_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soak = Soak(Plan(orders=4, kills=0, rate=0.0, deadline_s=DEADLINE_S), tmp_path, [VdcKind])
    settle = soak._settle

    def tamper() -> None:
        settle()
        with soak._waldur.state.lock:
            alive = next(one for one in soak._waldur.state.resources if one.state == "OK")
            alive.limits["cpu"] += 1
            soak._waldur.state.resources.remove(next(one for one in soak._waldur.state.resources if one is not alive))

    monkeypatch.setattr(soak, "_settle", tamper)
    figures = soak.run()
    assert any("cpu is" in problem for problem in figures.problems)
    assert "disagreements" in figures.text()
