"""The service that the documentation prints: what it names can be read by the user that it runs as."""

import configparser
import getpass
import grp
import os
import pwd
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest


PAGE = (Path(__file__).parents[2] / "docs" / "waldur-agent.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## As a service\n")[2]


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(name="service")
def _service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block("ini"))
    return unit["Service"]


def test_what_the_unit_and_the_settings_name_belongs_to_the_user_of_the_unit(
    service: configparser.SectionProxy, tmp_path: Path
) -> None:
    command = shlex.split(service["ExecStart"])
    secret = re.search(r"`admin_secret_file: (\S+)`", SECTION)
    assert secret is not None
    files = [command[command.index("-c") + 1], secret[1]]
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwnam(getpass.getuser())
    group = grp.getgrgid(owner.pw_gid).gr_name
    lines = [line.removeprefix("# ") for line in block("console").splitlines()]
    assert lines[0] == f"useradd --system --no-create-home {service['User']}"
    place = tmp_path / "etc"
    user = re.escape(service["User"])
    script = "\n".join(lines[1:]).replace("/etc/onetenant", str(place))
    script = re.sub(rf"-g {user}\b", f"-g {group}", re.sub(rf"-o {user}\b", f"-o {owner.pw_name}", script))
    script = script.replace(f"{service['User']}:{service['User']}", f"{owner.pw_name}:{group}")
    assert service["User"] not in script
    (tmp_path / "config.yaml").write_text("offerings: []", encoding="utf-8")
    subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, check=True)
    assert (place.stat().st_uid, stat.S_IMODE(place.stat().st_mode)) == (owner.pw_uid, 0o700)
    for name in files:
        found = Path(name.replace("/etc/onetenant", str(place)))
        assert (found.stat().st_uid, stat.S_IMODE(found.stat().st_mode)) == (owner.pw_uid, 0o600)
    assert len((place / "admin-secret").read_bytes().strip()) >= 16


def test_the_unit_gives_a_stop_the_time_that_it_may_take(service: configparser.SectionProxy) -> None:
    # 20 seconds for the orders at hand, and 30 for the call that is under way by then.
    assert int(service["TimeoutStopSec"]) > 50
    assert "DynamicUser" not in service
