"""Real-time digital twins of factories and of the energy plant they feed.

The public names for offline use are imported when they are first asked for, so `import uem` stays quick.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run", "simulate"]

if TYPE_CHECKING:
    from uem.offline.run import run
    from uem.offline.simulate import simulate
    from uem.territories.load import load

_HOMES = {"load": "uem.territories.load", "run": "uem.offline.run", "simulate": "uem.offline.simulate"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'uem' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
