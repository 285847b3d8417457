"""`python -m opennebula_tenancy.emulator`."""

import signal
import subprocess
import sys
import xmlrpc.client

import pytest

from opennebula_tenancy.emulator import Fault, FaultKind
from opennebula_tenancy.emulator.__main__ import fault, main


@pytest.fixture
def program():
    """Starts the program; what still runs after the test is ended."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "opennebula_tenancy.emulator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        lines = [process.stdout.readline().split() for _ in range(2)]
        return process, dict(lines)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_where_it_is_and_ends_when_told(program, signum):
    process, told = program()
    assert told["credentials"] == "oneadmin:opennebula"
    with xmlrpc.client.ServerProxy(told["endpoint"]) as proxy:
        assert proxy.one.system.version(told["credentials"]) == [True, "7.4.0", 0]
        assert "dummy0" in proxy.one.hostpool.info(told["credentials"])[1]
    process.send_signal(signum)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")


def test_it_can_start_empty_and_with_faults(program):
    _, told = program("--empty", "--fault", "election,method=one.group.allocate,times=2")
    with xmlrpc.client.ServerProxy(told["endpoint"]) as proxy:
        auth = told["credentials"]
        assert proxy.one.hostpool.info(auth) == [True, "<HOST_POOL></HOST_POOL>", 0]
        assert [proxy.one.group.allocate(auth, "acme")[0] for _ in range(3)] == [False, False, True]


def test_a_port_that_is_taken_is_one_line(program, capsys):
    _, told = program("--empty")
    port = told["endpoint"].rpartition(":")[2].partition("/")[0]
    with pytest.raises(SystemExit) as ended:
        main(["--empty", "--port", port])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"python -m opennebula_tenancy.emulator: port {port} of 127.0.0.1: Address already in use"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_there_is_not_is_a_usage_error(port, capsys):
    with pytest.raises(SystemExit) as ended:
        main([f"--port={port}"])
    assert ended.value.code == 2
    assert f"invalid port value: '{port}'" in capsys.readouterr().err


def test_a_fault_can_be_written_out():
    assert fault("drop") == Fault(kind=FaultKind.DROP)
    written = fault("refuse,method=one.vdc.allocate,call=3,times=2,code=0x800,message=Not today")
    assert written == Fault(kind="refuse", method="one.vdc.allocate", call=3, times=2, code=0x800, message="Not today")
    assert fault("delay,delay=2.5,times=forever") == Fault(kind="delay", delay_s=2.5, times=None)


@pytest.mark.parametrize("text", ["explode", "drop,metod=x", "drop,call=first", "delay,delay=", ""])
def test_a_fault_that_makes_no_sense_is_a_usage_error(text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--fault", text])
    assert ended.value.code == 2
    assert "--fault" in capsys.readouterr().err
