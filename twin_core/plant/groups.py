"""Customers that are alike by their names."""

import re
from collections.abc import Sequence

MOST_GROUPS = 12


def alike(names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of names that differ by their numbers only, by what they have in common; none if groups are many."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(re.sub(r"[-_]?\d+$", "", name), []).append(i)
    return dict(sorted(found.items())) if 1 < len(found) <= MOST_GROUPS else {}
