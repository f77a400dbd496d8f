"""The JSON Schema that documents and editors read is that of the files we read."""

import json
from pathlib import Path

from uem.offline.schema import main, text
from uem.territories.schema_units import unit_kinds

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_schema_is_the_one_that_the_command_prints(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == text() == (ROOT / "docs" / "territory.schema.json").read_text("utf-8")


def test_every_kind_of_unit_and_every_default_is_in_the_schema():
    parts = json.loads(text())["$defs"]
    for kind, cls in unit_kinds().items():
        table = parts[cls.__name__]
        assert table["properties"]["kind"]["const"] == kind
        assert table["description"]
        told = [key for key in table["properties"] if key not in table.get("required", ())]
        assert [key for key in told if "default" not in table["properties"][key]] == []
    assert parts["Substation"]["properties"]["primary_supply_temp_c"]["default"] == 90.0
    assert parts["Substation"]["properties"]["nominal_pressure_drop_bar"]["default"] == 0.5
    assert parts["HeatPump"]["properties"]["electric_limit_kw"]["default"] is None
