"""`python -m uem.clients.cli.child PARENT COMMAND ...` is `uem COMMAND ...` that ends when the process PARENT does.

The kernel sends SIGTERM when the parent dies, however it dies, so that nothing is left running and everything drains.
"""

import ctypes
import os
import signal
import sys

from uem.clients.cli.main import main

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Ask for SIGTERM at the end of `parent`; SystemExit when it is gone already."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    raise SystemExit(main(sys.argv[2:]))
