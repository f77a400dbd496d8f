"""Packages that only some imports need."""

from importlib import import_module
from typing import Any

from uem.twin_core.errors import InvalidInput


def needs(package: str, extra: str) -> Any:
    """The package, imported only now.

    Raises:
        InvalidInput: it is not installed; the message tells how to.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition(".")[0]
        raise InvalidInput(
            f"this needs the package {missing}, which is not installed: pip install 'uem[{extra}]'"
        ) from None
