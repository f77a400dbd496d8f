"""Values written to a plant of an independent stack, and what it has afterwards."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
from asyncua import ua
from asyncua.client.ua_client import UaSession

from uem.hardware_adapters.base import WriteOutcome, Writes
from uem.hardware_adapters.opcua import writing
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.writing import encoded, tolerance
from uem.hardware_adapters.writing import Refused
from uem.twin_core.errors import UnknownName
from uem.twin_core.measurements import Tag

VT = ua.VariantType


def writable(bindings, **more):
    return [replace(each, writable=True, **more) for each in bindings]


async def test_values_in_si_go_out_in_the_type_of_the_node_and_are_read_back(
    lasting_plant, node_certificates, node_tags
):
    tags = writable(node_tags("Setpoint", "Single", "Switch", "Wait", "Any"))
    tags += writable(node_tags("Short"), scale=0.1, offset=273.15)
    async with lasting_plant() as plant, OpcUaAdapter(plant.endpoint, tags, node_certificates) as opened:
        assert isinstance(opened, Writes)
        wanted = {"Setpoint": 42.5, "Single": 0.1, "Switch": 1.0, "Wait": 1500.0, "Any": 7.0, "Short": 273.15 - 12.34}
        results = await opened.write(wanted)
        assert [each.tag for each in results] == list(wanted)
        assert {each.outcome for each in results} == {WriteOutcome.WRITTEN}, results
        read = {each.tag: each.read for each in results}
    assert read["Single"] == float(np.float32(0.1))
    assert read["Short"] == pytest.approx(273.15 - 12.3)  # the node has tenths
    assert (read["Setpoint"], read["Switch"], read["Wait"], read["Any"]) == (42.5, 1.0, 1500.0, 7.0)


async def test_what_must_not_be_written_is_refused_by_name_and_the_others_are_written(
    lasting_plant, node_certificates, node_tags
):
    tags = node_tags("T0") + writable(
        node_tags("Setpoint", "Locked", "Theirs", "Row", "Text", "Refusing", "Short", "Gone", "Single")
    )
    tags[-1] = replace(tags[-1], tag=Tag(name="Single", unit="1", low=0.0, high=10.0))
    wanted = {
        "T0": (1.0, "BadNotWritable", "tag table"),
        "Setpoint": (5.0, "Good", ""),
        "Locked": (1.0, "BadNotWritable", "anybody"),
        "Theirs": (1.0, "BadUserAccessDenied", "this user"),
        "Row": (1.0, "BadTypeMismatch", "array"),
        "Text": (1.0, "BadTypeMismatch", "String"),
        "Refusing": (1.0, "BadDeviceFailure", "server refuses"),
        "Short": (40_000.0, "BadOutOfRange", "-32768 to 32767"),
        "Gone": (1.0, "BadNodeIdUnknown", "does not have"),
        "Single": (11.0, "BadOutOfRange", "0 to 10"),
    }
    async with lasting_plant() as plant, OpcUaAdapter(plant.endpoint, tags, node_certificates) as opened:
        results = await opened.write({tag: value for tag, (value, _, _) in wanted.items()})
        with pytest.raises(UnknownName, match="Setpoint"):
            await opened.write({"Setpoint": 6.0, "Nothing": 1.0})
    for each in results:
        _, status, text = wanted[each.tag]
        assert ua.StatusCode(each.status).name == status, each
        assert text in each.text
        assert each.outcome is (WriteOutcome.WRITTEN if each.tag == "Setpoint" else WriteOutcome.REFUSED)
    assert results[1].read == 5.0


async def test_more_values_than_a_call_may_have_are_written(lasting_plant, node_certificates, node_tags):
    names = [f"T{i}" for i in range(25)]
    async with (
        lasting_plant(tags=25, limit=7, writableTags=True) as plant,
        OpcUaAdapter(plant.endpoint, writable(node_tags(*names)), node_certificates) as opened,
    ):
        results = await opened.write({name: float(i) + 0.5 for i, name in enumerate(names)})
    assert [(each.outcome, each.read) for each in results] == [(WriteOutcome.WRITTEN, i + 0.5) for i in range(25)]


async def test_a_value_that_the_plant_changes_is_not_confirmed_and_what_it_reads_is_told(
    lasting_plant, node_certificates, node_tags, monkeypatch
):
    monkeypatch.setattr(writing, "CONFIRM_S", 60.0)  # ends as soon as it is confirmed
    tags = writable(node_tags("Clamped"))
    async with lasting_plant() as plant, OpcUaAdapter(plant.endpoint, tags, node_certificates) as opened:
        (good,) = await opened.write({"Clamped": 49.0})
        monkeypatch.setattr(writing, "CONFIRM_S", 5.0)
        (clamped,) = await opened.write({"Clamped": 80.0})
    assert (good.outcome, good.read) == (WriteOutcome.WRITTEN, 49.0)
    assert (clamped.outcome, clamped.read) == (WriteOutcome.NOT_CONFIRMED, 50.0)
    assert "reads 50" in clamped.text


@pytest.mark.parametrize("how", ["timeout", "reset"])
async def test_a_write_without_an_answer_is_unknown_and_never_sent_twice(
    lasting_plant, node_certificates, node_tags, chaos, how
):
    tags = writable(node_tags("Deaf")) + node_tags("Writes", sampling_ms=50.0)
    async with (
        lasting_plant() as plant,
        chaos(plant.endpoint) as line,
        OpcUaAdapter(line.endpoint, tags, node_certificates) as opened,
        OpcUaAdapter(plant.endpoint, tags, node_certificates) as other,
    ):
        before, writing_it = None, None
        async for batch in other.batches():
            for count in [value for name, _, value, _ in batch.rows() if name == "Writes"]:
                before = count if before is None else before
            if before is not None and writing_it is None:
                timeout_s = 5.0 if how == "timeout" else 60.0
                writing_it = asyncio.create_task(opened.write({"Deaf": 1.0}, timeout_s=timeout_s))
            elif before is not None and count > before:
                break
        if how == "reset":
            line.abort()
        (result,) = await writing_it
        assert result.outcome is WriteOutcome.UNKNOWN
        assert math.isnan(result.read)
        assert "before you try again" in result.text
        async with OpcUaAdapter(plant.endpoint, tags, node_certificates) as afterwards:
            async for batch in afterwards.batches():
                counts = [value for name, _, value, _ in batch.rows() if name == "Writes"]
                if counts:
                    break
    assert counts[-1] == before + 1.0


@pytest.mark.parametrize("count", [0, 3])
async def test_what_was_written_is_not_confirmed_when_reading_back_answers_another_number_of_values(
    lasting_plant, node_certificates, node_tags, monkeypatch, count
):
    tags = writable(node_tags("Setpoint", "Single"))
    async with lasting_plant() as plant, OpcUaAdapter(plant.endpoint, tags, node_certificates) as opened:
        write = UaSession.write

        async def read(self, parameters):
            return [ua.DataValue(ua.Variant(1.0))] * count

        async def written(self, parameters):
            monkeypatch.setattr(UaSession, "read", read)
            return await write(self, parameters)

        monkeypatch.setattr(UaSession, "write", written)
        results = await opened.write({"Setpoint": 1.0, "Single": 1.0})
    assert [each.outcome for each in results] == [WriteOutcome.NOT_CONFIRMED] * 2
    assert all(f"{count} answers to 2 reads" in each.text for each in results)


async def test_nothing_is_sent_when_the_types_of_nodes_are_answered_by_another_number_of_values(
    lasting_plant, node_certificates, node_tags, monkeypatch
):
    tags = writable(node_tags("Setpoint"))
    async with lasting_plant() as plant, OpcUaAdapter(plant.endpoint, tags, node_certificates) as opened:
        read = UaSession.read

        async def longer(self, parameters):
            return [ua.DataValue(), *await read(self, parameters)]

        monkeypatch.setattr(UaSession, "read", longer)
        (result,) = await opened.write({"Setpoint": 1.0})
    assert result.outcome is WriteOutcome.REFUSED
    assert "6 answers to 5 reads; nothing was sent" in result.text


async def test_nothing_is_sent_without_a_line(lasting_plant, node_certificates, node_tags, chaos, until):
    tags = writable(node_tags("Setpoint"))
    async with (
        lasting_plant() as plant,
        chaos(plant.endpoint) as line,
        OpcUaAdapter(line.endpoint, tags, node_certificates) as opened,
    ):
        await line.refuse()
        line.abort()
        await until(lambda: not opened.connected)
        (result,) = await opened.write({"Setpoint": 1.0})
    assert result.outcome is WriteOutcome.REFUSED
    assert "not connected" in result.text


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(VT.SByte, -128, 127), (VT.Byte, 0, 255), (VT.UInt16, 0, 65_535), (VT.UInt32, 0, 2**32 - 1), (VT.Boolean, 0, 1)],
)
def test_integers_are_rounded_and_held_to_their_range(kind, low, high):
    assert encoded(low + 0.4, kind) == ua.Variant(bool(low) if kind is VT.Boolean else low, kind)
    assert encoded(high - 0.4, kind).Value == high
    for wrong in (low - 1.0, high + 1.0, math.inf, math.nan):
        with pytest.raises(Refused):
            encoded(wrong, kind)


def test_the_tolerance_is_that_of_the_type():
    assert tolerance(encoded(3.0, VT.Int32)) == 0.0
    assert 0 < tolerance(encoded(1e3, VT.Float)) < 2e-4
    assert 0 < tolerance(encoded(1e3, VT.Double)) < 3e-13
    with pytest.raises(Refused, match="Float"):
        encoded(1e39, VT.Float)
