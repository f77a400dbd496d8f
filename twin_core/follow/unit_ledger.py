"""What every unit of a network did since the ledger began."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.indicators import Totals
from uem.twin_core.plant.units import Unit

KINDS = tuple(each.name for each in fields(Totals))
Results = Mapping[str, Mapping[str, NDArray[np.float64]]]  # by name of the unit and of the result, (members,)


class UnitLedger:
    """Sums of the results of units, J, shape (units, kinds): a unit that has no such result has 0."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._names = [unit.name for unit in units]
        self.total_j = np.zeros((len(units), len(KINDS)))

    def add(self, results: Results) -> None:
        """Add what units did in a step."""
        for row, name in enumerate(self._names):
            result = results[name]
            for column, kind in enumerate(KINDS):
                if kind in result:
                    self.total_j[row, column] += result[kind][0]

    def copy(self) -> Self:
        """The same, to go back to."""
        made = object.__new__(type(self))
        made._names, made.total_j = self._names, self.total_j.copy()
        return made

    def totals(self) -> dict[str, Totals]:
        """By name of the unit."""
        return {name: Totals(*row) for name, row in zip(self._names, self.total_j.tolist(), strict=True)}
