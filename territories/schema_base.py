"""Types that all keys of a territory file share: names, ranges, models that refuse what they do not know."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationInfo

from uem.twin_core.units import ZERO_CELSIUS_K

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# TOML has types of its own: a text that looks like a number is a slip of the pen, and is told.
Number = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Positive = Annotated[Number, Field(gt=0, le=1e15, allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0, le=1e15, allow_inf_nan=False)]
Millimetres = Annotated[Number, Field(ge=1.0, le=5000.0, allow_inf_nan=False)]  # of a pipe
Celsius = Annotated[Number, Field(gt=-ZERO_CELSIUS_K, le=2000.0, allow_inf_nan=False)]
WaterCelsius = Annotated[Number, Field(ge=0.0, lt=200.0, allow_inf_nan=False)]
# What no twin could compute in time, or nobody could read.
MOST_FORECAST_TIMES = 1440
MOST_FORECAST_STEPS = 20_000


def _forecast_step(step_s: float, info: ValidationInfo) -> float:
    horizon_s = info.data.get("forecast_horizon_s")  # one that is wrong has been told already
    if horizon_s is not None and not 1 <= horizon_s / step_s <= MOST_FORECAST_TIMES:
        raise ValueError(
            f"forecast_horizon_s {horizon_s:g} must hold 1 to {MOST_FORECAST_TIMES} of these steps, "
            f"not {horizon_s / step_s:.6g}"
        )
    return step_s


# Comes after forecast_horizon_s in its model.
ForecastStep = Annotated[Number, Field(ge=0.1, le=3600, validate_default=True), AfterValidator(_forecast_step)]


class Model(BaseModel):
    """A table of a file: unknown keys are refused, what was read does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
