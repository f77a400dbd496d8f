"""How well bands hold set points of the valley that slide with its weather: many days, without a network.

`python tests/twin_core/follow/foreseen_set_points.py` prints figures of docs/models/forecast.md (seconds of CPU): of
the days on which it was chosen how gains fall with the lead, and of those that are judged.
"""

import numpy as np

from uem.hardware_adapters.simulator.season import SLIDE_K
from uem.territories.load import load
from uem.twin_core.follow.heating_curve import HeatingCurve
from uem.twin_core.forecast.adaptive import GAIN, AdaptiveBands
from uem.twin_core.forecast.day_ahead import LEADS, STEP_NS, STEP_S, DayAhead
from uem.twin_core.plant.simulation import load_part
from uem.twin_core.units import ZERO_CELSIUS_K

DESIGN_C, LIMIT_C = -10.0, 16.0  # of all stations
LEARNING_DAYS, NOISE_K = 12, 0.15
BEGIN_DAYS = {"24 September to 1 January": (-110, 100), "31 December to 31 March": (-12, 91)}  # from the epoch on
WEATHER_H = {"3 h": 3.0, "6 h": 6.0, "12 h": 12.0, "one gain": np.inf}
LEVELS = (0.1, 0.9)


def judged(begin_day, days, gain, seed=1):
    """Quantiles of forecasts issued each hour and what came of them, (issues, leads, levels) and (issues, leads)."""
    simulation, rng = load("vallee").simulation, np.random.default_rng(seed)
    time_ns = simulation.epoch_ns // STEP_NS * STEP_NS + STEP_NS * (begin_day * LEADS + np.arange(days * LEADS))
    outdoor_c = [simulation.outdoor_temp_c(now_ns) for now_ns in time_ns.tolist()]
    mean_c = [simulation.mean_of_a_day_c(now_ns) for now_ns in time_ns.tolist()]
    set_point_k = SLIDE_K * np.array([load_part(now_c, DESIGN_C, LIMIT_C) for now_c in mean_c])
    shown_k = set_point_k + NOISE_K * rng.normal(size=len(set_point_k))
    weather, curve = DayAhead("weather", np.ones(1), {"demand": [0]}), HeatingCurve()
    bands = AdaptiveBands(LEADS, np.array([3.0]), gain=gain[:, None], levels=LEVELS)
    quantiles, came = [], []
    for k, outdoor in enumerate(outdoor_c):
        weather._append(np.zeros(1), outdoor)
        curve = curve.see(outdoor + ZERO_CELSIUS_K, set_point_k[k], STEP_S)
        bands.judge(k, shown_k[k : k + 1])
        if k % 4 == 0 and k >= 3 * LEADS and k + LEADS < len(outdoor_c):
            value_k = set_point_k[k] + curve.change_k(weather._weather() + ZERO_CELSIUS_K, STEP_S)
            bands.remember(k + np.arange(1, LEADS + 1), value_k[:, None])
            if k >= LEARNING_DAYS * LEADS:
                quantiles.append(bands.quantiles(value_k[:, None])[:, 0])
                came.append(shown_k[k + 1 : k + 1 + LEADS])
    return np.array(quantiles), np.array(came)


def main():
    """Per period and gain: the share in the 80 % band by 4 h of lead, and the pinball loss of the last 4 h."""
    for period, (begin_day, days) in BEGIN_DAYS.items():
        for name, weather_h in WEATHER_H.items():
            lead_h = np.arange(1, LEADS + 1) / 4
            quantile, came = judged(begin_day, days, GAIN / (1.0 + lead_h / weather_h))
            held = (quantile[..., 0] <= came) & (came <= quantile[..., 1])
            off = came[:, -16:, None] - quantile[:, -16:]
            loss_k = np.maximum(off * LEVELS, off * (np.array(LEVELS) - 1.0)).sum(axis=-1).mean()
            shares = " / ".join(f"{held[:, k : k + 16].mean():.0%}" for k in range(0, LEADS, 16))
            print(f"{period}, {name}: {shares}; {loss_k:.3f} K")


if __name__ == "__main__":
    main()
