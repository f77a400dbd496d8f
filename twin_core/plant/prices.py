"""What energy costs: told in the territory with its source and date, since prices are nothing that physics knows."""

import math
from dataclasses import dataclass
from enum import StrEnum

from uem.twin_core.errors import InvalidTerritory


class Carrier(StrEnum):
    """What is bought or sold."""

    GAS = "gas"
    WOOD = "wood"
    OIL = "oil"
    WASTE = "waste"
    ELECTRICITY = "electricity"
    ELECTRICITY_SOLD = "electricity_sold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a carrier, per kWh of its lower heating value or of electricity; waste may have one below 0."""

    carrier: Carrier
    eur_per_kwh: float
    source: str  # who says so
    date: str  # since when, or of when: YYYY-MM-DD

    def __post_init__(self) -> None:
        if not math.isfinite(self.eur_per_kwh):
            raise InvalidTerritory(f"price of {self.carrier}", [f"eur_per_kwh: {self.eur_per_kwh} must be finite"])
