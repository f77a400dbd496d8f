"""Where `uem up` keeps what it writes: a fresh folder per run of recorded plants, one standing folder of real ones."""

import contextlib
import fcntl
import os
import re
import shutil
import tomllib
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from uem.clients.errors import ClientError

KEPT_RUNS = 5
_RUN = re.compile(r"\d{8}-\d{6}(-\d+)?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_STARTED = "started"  # in the folder of a run whose processes all became ready


class StateFolder:
    """A state folder that is ours until `release`: two processes must not write one history."""

    def __init__(self, path: Path, pki: Path) -> None:
        self.path = path
        self.pki = pki
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path / "up.lock")
        except OSError as error:
            raise ClientError(f"cannot write the state folder {path}: {error.strerror}") from None
        except _InUse as error:
            raise ClientError(
                f"state folder {path} is in use by another {error}; name another one with --state"
            ) from None

    def has_started(self) -> None:
        """Note that all processes became ready, so that runs that never did cannot push this one out."""
        (self.path / _STARTED).touch()

    def release(self) -> None:
        """Let others have it."""
        self._lock.close()


class _InUse(Exception):
    """A lock is held; the text says by whom."""


def _lock(path: Path) -> IO[str]:
    """A lock until it is closed, with our process id in it; _InUse or OSError."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise _InUse("uem up" + (f" (pid {pid})" if pid else "")) from None
    file.truncate(0)
    with contextlib.suppress(OSError):  # a full disk: who holds it is not known then, that it is held is
        file.write(f"{os.getpid()}\n")
        file.flush()
    return file


def claim_port(port: int) -> IO[str] | None:
    """A lock on being the `uem up` at this port; None where no such lock can be kept. ClientError names who has it."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        return _lock(home() / f"up-{port}.lock")
    except OSError:
        return None  # the server itself still finds out that a port is in use
    except _InUse as error:
        raise ClientError(
            f"another {error} is running here with --port {port}; "
            "end it, or choose other ports with --port and --metrics-port"
        ) from None


def describe(territory: str) -> tuple[str, bool]:
    """Name of a territory and whether it has plants that we are: that play recordings or are simulated.

    Only looks: a file that is wrong is told by the processes, which check it as a whole; ClientError without one.
    """
    path = _file(territory)
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raw = {}
    plants = raw.get("plants")
    recorded = not isinstance(plants, list) or any(
        isinstance(p, dict) and ("recording" in p or p.get("simulated") is True) for p in plants
    )
    name = str(raw.get("name", re.sub(r"[^A-Za-z0-9_.-]", "_", path.resolve().parent.name)))
    if not _NAME.fullmatch(name):  # it becomes a folder
        raise ClientError(
            f"territory name {name!r} in {path}: a name begins with a letter or a digit, "
            "then come letters, digits, '_', '.' and '-', 200 at most"
        )
    return name, recorded


def _file(territory: str) -> Path:
    """The file of a path, of a folder or of a shipped name; ClientError when there is none."""
    path = Path(territory)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises when a name is too long
        path = path / "territory.toml"
    if os.path.isfile(path):  # noqa: PTH113
        return path
    shipped = {path.parent.name: path for path in Path(str(files("uem.examples"))).glob("*/territory.toml")}
    if territory not in shipped:
        known = ", ".join(sorted(shipped))
        raise ClientError(f"unknown territory {territory!r}; known: {known}; or give the path of a territory.toml")
    return shipped[territory]


def home() -> Path:
    """The folder of all territories: UEM_STATE, or uem in the user's state folder."""
    user = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("UEM_STATE") or Path(user) / "uem")


def state_folder(name: str, given: Path | None, recorded: bool) -> StateFolder:
    """The folder of a run: the given one, else a fresh one for recorded plants, else the territory's own."""
    if given is not None:
        return StateFolder(given, given / "pki")
    territory = home() / name
    if not recorded:
        return StateFolder(territory, territory / "pki")
    runs = territory / "runs"
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    path = next(p for i in range(1000) if not (p := runs / (f"{stamp}-{i}" if i else stamp)).exists())
    folder = StateFolder(path, territory / "pki")
    remove_old_runs(runs)
    return folder


def remove_old_runs(runs: Path) -> None:
    """Keep the newest runs, the newest that did not start, and those in use; what is not a run of ours stays."""
    found = sorted(path for path in runs.iterdir() if path.is_dir() and _RUN.fullmatch(path.name))
    for started in (True, False):
        for path in [path for path in found if (path / _STARTED).exists() is started][:-KEPT_RUNS]:
            with contextlib.suppress(_InUse), _lock(path / "up.lock"):
                shutil.rmtree(path)
