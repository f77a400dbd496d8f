"""What twins say of energy, as Prometheus reads it."""

import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.exposition import generate_latest
from shipped import shipped

from uem.services.metrics import Metrics
from uem.services.twin.energy import Asset, export
from uem.twin_core.measurements import UNCERTAIN
from uem.twin_core.production.indicators import PACKML
from uem.twin_core.state import Columns, places
from uem.twin_core.twin import make_twins

QUARTIER, PONGAU = shipped("quartier"), shipped("pongau")


def exported(territory, values=(), quality=0, published=True):
    """Lines without help, of twins whose signals all are 1.0 but for those of `values`."""
    assets = []
    for twin in make_twins(territory):
        columns = Columns(places(twin.signals))
        for signal in twin.signals:
            columns.put(signal.name, dict(values).get(signal.name, 1.0), 0.1, quality, 0.0)
        snapshot = columns.snapshot(twin.name, 1, 0, 0)
        assets.append(Asset(twin.name, twin.signals, lambda snapshot=snapshot: snapshot if published else None))
    metrics = Metrics()
    export(territory, assets, metrics)
    text = generate_latest(metrics.registry).decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_units_have_their_heat_and_source_and_customers_are_one():
    network = QUARTIER.networks[0]
    found = exported(QUARTIER, {"unit/boiler/heat": 5e5, "unit/waste-heat/heat": 2e5})
    (boiler,) = [series for series in found if 'unit="boiler"' in series]
    (recovered,) = [series for series in found if 'unit="waste-heat"' in series]
    assert (float(found[boiler]), float(found[recovered])) == (5e5, 2e5)
    assert 'source="waste_heat"' in recovered
    customers = [unit.name for unit in network.units if type(unit).__name__ in ("Substation", "HeatLoad")]
    (of_customers,) = [series for series in found if 'source="customers"' in series]
    assert float(found[of_customers]) == len(customers) > 1


def test_indicators_machines_and_factories_are_told():
    found = exported(QUARTIER, {"indicator/recovered": 7.0, "energy/loss": 3.0})
    network, factory = QUARTIER.networks[0].name, QUARTIER.factories[0]
    assert float(found[f'uem_network_energy_joules{{asset="{network}",what="recovered"}}']) == 7.0
    assert float(found[f'uem_network_energy_joules{{asset="{network}",what="loss"}}']) == 3.0
    assert float(found[f'uem_network_co2_grams{{asset="{network}",what="avoided"}}']) == 1000.0
    assert f'uem_factory_power_watts{{asset="{factory.name}"}}' in found
    assert f'uem_factory_heat_watts{{asset="{factory.name}",stream="{factory.heat[0].name}"}}' in found
    assert any(series.startswith("uem_machine_state_number{") for series in found)
    assert not any(series.startswith("uem_network_cost_euros") for series in found)  # no prices are told


def test_the_deviation_is_that_of_temperatures_of_good_quality():
    (name,) = {twin.name for twin in make_twins(PONGAU)} - {machine.name for machine in PONGAU.machines}
    (twin,) = [twin for twin in make_twins(PONGAU) if twin.name == name]
    pairs = [signal for signal in twin.signals if signal.compared_with and signal.unit == "K"]
    assert pairs
    values = {signal.name: 1.0 + k for k, signal in enumerate(pairs)}
    expected = np.sqrt(np.mean(np.square(np.arange(len(pairs)))))
    series = f'uem_twin_deviation_kelvin{{asset="{name}"}}'
    assert float(exported(PONGAU, values)[series]) == pytest.approx(expected)
    assert series not in exported(PONGAU, values, quality=UNCERTAIN)


def test_before_the_first_state_nothing_is_told():
    assert exported(QUARTIER, published=False) == {}


def test_the_alert_of_machines_that_are_down_names_the_states_of_a_machine_that_cannot_work():
    rules = (Path(__file__).resolve().parents[3] / "monitoring" / "alerts.yml").read_text("utf-8")
    named = {int(number) for number in re.findall(r"uem_machine_state_number == (\d+)", rules)}
    assert named == {int(PACKML[state]) for state in ("down", "waiting_for_crew", "maintenance")}
