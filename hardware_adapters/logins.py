"""User and password of a plant: in a file that its owner alone may read, or in the environment; never anywhere else.

FOLDER/login                        user in the first line, password in the second
UEM_OPCUA_USER_PLANT, UEM_OPCUA_PASSWORD_PLANT      the same, with the protocol and the plant in capitals; they
                                                    take the place of the file
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uem.twin_core.errors import AdapterError

_BY_OTHERS = 0o077  # permission bits of group and world


@dataclass(frozen=True, slots=True)
class Login:
    """A user and its password."""

    user: str
    password: str = field(repr=False)


class LoginSource:
    """Where the login of one plant is looked for, at each connection anew."""

    def __init__(self, protocol: str, plant: str, folder: Path, environment: Mapping[str, str]) -> None:
        """`folder` need not exist."""
        suffix = re.sub(r"[^A-Z0-9]", "_", plant.upper())
        self._path = folder / "login"
        self._variables = tuple(f"UEM_{protocol.upper()}_{what}_{suffix}" for what in ("USER", "PASSWORD"))
        self._environment = environment

    def __str__(self) -> str:
        return f"{self._path} (user in the first line, password in the second) or {' and '.join(self._variables)}"

    def read(self) -> Login | None:
        """What is there; AdapterError when the file is wrong or open to others."""
        user, password = (self._environment.get(name) for name in self._variables)
        if user:
            return Login(user, password or "")
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise AdapterError(
                f"{self._path} cannot be read: {getattr(error, 'strerror', None) or 'no text'}"
            ) from None
        check_private(self._path)
        if not lines or not lines[0]:
            raise AdapterError(f"{self._path}: the user belongs in the first line, the password in the second")
        return Login(lines[0], lines[1] if len(lines) > 1 else "")


def check_private(path: Path) -> None:
    """AdapterError when others than its owner may read a file."""
    if path.stat().st_mode & _BY_OTHERS:
        raise AdapterError(f"{path} may be read by others than its owner: chmod 600 {path}")
