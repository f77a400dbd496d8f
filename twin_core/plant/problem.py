"""What is wrong with a thing: told in SI by the core, in the units of a file by whoever reads files."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Self


class Problem(str):
    """A text in SI units that can be told in others.

    `template` has the places that `values` fills: by place, the key whose unit the value has, and the value in SI.
    """

    template: str
    values: Mapping[str, tuple[str, Any]]

    def __new__(cls, template: str, values: Mapping[str, tuple[str, Any]] | None = None) -> Self:
        """The text, its places filled in SI."""
        values = values or {}
        made = super().__new__(cls, template.format_map({place: value for place, (_, value) in values.items()}))
        made.template, made.values = template, values
        return made

    @classmethod
    def of(cls, thing: Any, template: str, **limits: tuple[str, Any]) -> Self:
        """Its places are fields of the dataclass `thing`, or `limits` with the key whose unit they have."""
        names = [field.name for field in fields(thing) if f"{{{field.name}}}" in template]
        return cls(template, {name: (name, getattr(thing, name)) for name in names} | limits)

    def below(self, key: str) -> "Problem":
        """The same problem of a part that stands at `key`."""
        return Problem(f"{key}.{self.template}", self.values)

    def told(self, shown: Callable[[str, Any], Any]) -> str:
        """The text with each value as `shown(key, value in SI)`."""
        return self.template.format_map({place: shown(key, value) for place, (key, value) in self.values.items()})
