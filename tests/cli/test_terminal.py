"""The program as a process: on a terminal, interrupted, and without what it needs."""

import os
import pty
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import opennebula_tenancy
from opennebula_tenancy.emulator import Emulator, Fault, FaultKind
from tenants.raw import Raw


PROGRAM = [sys.executable, "-m", "opennebula_tenancy.cli"]
CREATE = [*PROGRAM, "create", "--name", "acme", "--key", "k-acme", "--cluster", "0"]
DEADLINE_S = 60.0


def names(admin: Raw, method: str) -> list[str | None]:
    return [item.findtext("NAME") for item in admin.xml(method)]


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=DEADLINE_S, check=False)


def test_progress_is_shown_on_a_terminal_and_data_stays_on_stdout(environment: dict[str, str]) -> None:
    screen, terminal = pty.openpty()
    env = {**os.environ, **environment, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [*CREATE, "-o", "csv"], stdout=subprocess.PIPE, stderr=terminal, text=True, env=env
    ) as process:
        os.close(terminal)
        shown = b""
        while chunk := _read(screen):
            shown += chunk
        stdout, _ = process.communicate(timeout=DEADLINE_S)
    os.close(screen)
    assert process.returncode == 0, shown
    assert b"8/9" in shown
    assert b"\x1b[" in shown
    assert stdout.splitlines()[0] == "field,value"
    assert "\x1b" not in stdout


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def test_no_progress_and_no_colour_where_there_is_no_terminal(environment: dict[str, str]) -> None:
    done = run(CREATE, environment)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_an_interrupted_run_leaves_nothing_of_a_new_tenant(
    server: Emulator, admin: Raw, environment: dict[str, str]
) -> None:
    server.faults.arm(Fault(kind=FaultKind.DELAY, method="one.vdc.addgroup", delay_s=DEADLINE_S))
    env = {**os.environ, **environment}
    # A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(CREATE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    signal.signal(signal.SIGINT, before)
    with process:
        deadline = time.monotonic() + DEADLINE_S
        while "one.vdc.addgroup" not in server.calls:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1].endswith(
        "cannot make the tenant acme at "
        f"{server.endpoint}: interrupted; to finish it, run the same command again with --key k-acme"
    )
    assert "acme" not in names(admin, "one.grouppool.info") + names(admin, "one.vdcpool.info")


def test_without_click_it_says_what_to_install(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("click") and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    source = Path(opennebula_tenancy.__file__).parents[1]
    # -S: no site-packages but that copy, as on a machine where the extra was not installed.
    done = run([sys.executable, "-S", *PROGRAM[1:], "list"], {"PYTHONPATH": f"{source}{os.pathsep}{packages}"})
    assert done.returncode == 2
    assert done.stderr == "onetenant: click is not installed: install opennebula-tenancy[cli] to use this program\n"


def test_it_has_a_version_and_completes(environment: dict[str, str]) -> None:
    assert run([*PROGRAM, "--version"], environment).stdout.startswith("onetenant, version ")
    completing = {"_ONETENANT_COMPLETE": "bash_complete", "COMP_WORDS": "onetenant do", "COMP_CWORD": "1"}
    assert run(PROGRAM, {**environment, **completing}).stdout == "plain,doctor\n"
