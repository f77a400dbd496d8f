"""Where `uem inject` reaches a simulator: a Unix socket of its user, one line of JSON each way."""

import asyncio
import errno
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uem.hardware_adapters.simulator.faults import KINDS, Faults
from uem.twin_core.errors import TwinError

_log = logging.getLogger(__name__)

SOCKET = "inject.sock"
WAIT_S = 5.0  # for the line of a client


@asynccontextmanager
async def taking(faults: Faults, folder: Path) -> AsyncIterator[None]:
    """Take faults in `folder` while the block runs; without, after a warning, where no socket can be made."""
    path = folder / SOCKET
    try:
        bound = _bound(path)
    except OSError as error:
        _log.warning("no faults can be injected: %s: %s", path, error.strerror or error)
        yield
        return
    ours = path.stat().st_ino
    try:
        async with await asyncio.start_unix_server(lambda r, w: _serve(faults, r, w), sock=bound):
            yield
    finally:
        with suppress(FileNotFoundError):
            if path.stat().st_ino == ours:
                path.unlink()


def _bound(path: Path) -> socket.socket:
    """A socket there, in place of one that nobody listens at any more; before it listens it is its user's alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX)
    try:
        try:
            made.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except FileNotFoundError:
            pass
        else:
            raise OSError(errno.EADDRINUSE, "another simulator takes faults there")
        made.bind(str(path))
        path.chmod(0o600)
    except OSError:
        made.close()
        raise
    return made


async def _serve(faults: Faults, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError, TimeoutError, ValueError):  # the last one: a line that is far too long
            line = await asyncio.wait_for(reader.readline(), WAIT_S)
            async with faults.at_rest:
                said = answer(faults, line)
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()
    finally:
        writer.close()


def answer(faults: Faults, line: bytes) -> dict[str, Any]:
    """Do what a line says: {"do": "list" or "clear"}, or a fault {"do", "what", "value", "for_s"}."""
    try:
        asked = json.loads(line)
        kind, value, for_s = asked["do"], float(asked.get("value", 0.0)), asked.get("for_s")
        if kind == "clear":
            faults.clear()
        elif kind != "list":
            faults.inject(str(kind), str(asked["what"]), value, None if for_s is None else float(for_s))
    except TwinError as error:
        return {"error": str(error)}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {"error": "not a line of JSON that says what to do"}
    _log.info("asked for: %s", line.decode("utf-8", "replace").strip())
    return {"kinds": KINDS, "faults": [asdict(fault) for fault in faults.now]}
