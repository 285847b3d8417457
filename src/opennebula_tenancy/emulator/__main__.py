"""An OpenNebula to run beside your work: `python -m opennebula_tenancy.emulator --port 2633`."""

import argparse
import signal
from collections.abc import Sequence

from opennebula_tenancy.emulator import Emulator, Fault, FaultKind


_LAST_PORT = 65535
_EXAMPLES = """
a fault is KIND[,method=NAME][,call=INDEX][,onwards=yes][,times=COUNT][,delay=SECONDS][,code=CODE][,message=TEXT]:
  --fault lose-reply,method=one.vdc.allocate     apply the first one.vdc.allocate, and drop the connection
  --fault election,times=3                       refuse the first three calls for want of a leader
  --fault delay,delay=5,call=7                   answer call 7 (from 0) five seconds late
times=forever never ends. Kinds: """


def fault(text: str) -> Fault:
    """A fault of the command line.

    Args:
        text: `KIND[,name=value]...`.

    Raises:
        ValueError: The kind, a name or a value is unknown.
    """
    kind, *settings = text.split(",")
    given = dict(setting.partition("=")[::2] for setting in settings)
    unknown = set(given) - {"method", "call", "onwards", "times", "delay", "code", "message"}
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
    times = given.get("times", "1")
    return Fault(
        kind=FaultKind(kind),
        method=given.get("method"),
        call=int(given["call"]) if "call" in given else None,
        onwards=given.get("onwards") == "yes",
        times=None if times == "forever" else int(times),
        delay_s=float(given.get("delay", "1")),
        code=int(given.get("code", "0x2000"), 0),
        message=given.get("message", "Refused on purpose"),
    )


def port(text: str) -> int:
    """A TCP port of the command line.

    Raises:
        ValueError: There is no such port.
    """
    if not 0 <= (number := int(text)) <= _LAST_PORT:
        raise ValueError(f"{number} is no port")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: The command line without the program's name; None reads that of the process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m opennebula_tenancy.emulator",
        description="An OpenNebula on this machine, with nothing in it that lasts.",
        epilog=_EXAMPLES + ", ".join(FaultKind),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=port, default=0, help="TCP port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--empty", action="store_true", help="start as after a first installation, without hosts")
    parser.add_argument("--fault", type=fault, action="append", default=[], metavar="FAULT", help="see below")
    options = parser.parse_args(arguments)
    # Blocked before any thread starts, so that a signal waits for us instead of for a lucky moment in Python.
    to_end = {signal.SIGINT, signal.SIGTERM}
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, to_end)
    server = Emulator(port=options.port, populated=not options.empty)
    server.faults.arm(*options.fault)
    try:
        try:
            server.start()
        except OSError as error:
            parser.exit(1, f"{parser.prog}: port {options.port} of 127.0.0.1: {error.strerror}\n")
        print(f"endpoint {server.endpoint}", f"credentials {server.auth}", sep="\n", flush=True)  # noqa: T201
        signal.sigwait(to_end)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)  # another signal ends a server that does not stop
        server.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
