"""`uem`: finds the command and hands the rest of the line to it; nothing heavy is imported before.

Commands are named by module, since clients may not import the parts that the processes live in. Exit codes:
0 done, 1 an error with one clear message, 2 wrong usage, 130 interrupted.
"""

import argparse
import errno
import os
import sys
from importlib import import_module

from uem import __version__

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# command -> (module with `main(argv) -> int`, what it does)
COMMANDS = {
    "up": ("uem.clients.cli.up", "start a territory with its plants and show it live"),
    "state": ("uem.clients.cli.state", "the state of the twins now, measured against twin"),
    "status": (
        "uem.clients.cli.status",
        "how server, gateways and plants are: backlog, ages, what was lost or refused",
    ),
    "watch": ("uem.clients.cli.watch", "follow the states as they come"),
    "forecast": ("uem.clients.cli.forecast", "what a twin expects, with its band"),
    "history": ("uem.clients.cli.history", "what was measured"),
    "inject": ("uem.clients.cli.inject", "put a fault into a simulated plant"),
    "console": ("uem.clients.console.main", "a web page over a running server, live"),
    "alarms": ("uem.clients.cli.alarms", "what plants say of their alarms and conditions"),
    "generate": ("uem.offline.generating", "draw a valley by chance, with plant, network, factories and tags"),
    "import": ("uem.offline.importing", "make a territory file of what other tools wrote"),
    "check": ("uem.offline.check.main", "look for mistakes in a network, as drawn and as it runs"),
    "plot": ("uem.offline.plot.main", "draw a network, coloured by temperature, pressure, flow or diameter"),
    "run": ("uem.offline.run", "let a network run by itself and keep what happens"),
    "schema": ("uem.offline.schema", "print the JSON Schema of territory files"),
    "simulate": ("uem.offline.simulate", "run a model on a time series, without a server"),
    "validate": ("uem.offline.validate.main", "hold the models against measured data"),
    "serve": ("uem.services.standalone", "the server alone: ingestion, twins, forecasts, history"),
    "backup": ("uem.services.history.backup", "copy the history to a file while the server runs, or put it back"),
    "gateway": ("uem.hardware_adapters.gateway", "read plants and send what they measure to a server"),
    "opcua": ("uem.hardware_adapters.scada.main", "show the twins to control systems by OPC UA"),
    "simulator": (
        "uem.hardware_adapters.simulator.main",
        "play recorded plants through real OPC UA servers, or simulate them behind their protocols",
    ),
}


def parser() -> argparse.ArgumentParser:
    """The parser of the first word."""
    commands = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    made = argparse.ArgumentParser(
        prog="uem",
        usage="uem [--version] COMMAND ...",
        description="Real-time digital twins of factories and of the energy plant they feed.",
        epilog=f"commands:\n{commands}\n\nuem COMMAND --help tells more of each; `uem up` is the start.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"uem {__version__}")
    made.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    made.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return made


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments:
        parser().print_help()
        return 2
    options = parser().parse_args(arguments)
    if sys.stdout is None:  # closed, as in `uem state >&-`
        print(f"uem {options.command}: error: standard output is closed", file=sys.stderr)
        return 1
    try:
        code: int = import_module(COMMANDS[options.command][0]).main(options.rest)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has what it wanted, as in `uem history | head`
        _forget_stdout()
        return 0
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        _forget_stdout()
        print(f"uem {options.command}: error: cannot write: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _forget_stdout() -> None:
    """What is still to be written goes nowhere, so that the end of Python does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
