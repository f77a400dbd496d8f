"""Methods of a plant of an independent stack."""

import pytest
from asyncua import ua
from asyncua.client.ua_client import UaSession

from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.twin_core.errors import AdapterError, InvalidInput

NAMESPACE = "urn:uem:test:peer"


async def test_methods_are_called_by_path_and_wrong_arguments_are_named(lasting_plant, node_certificates, node_tags):
    async with (
        lasting_plant() as plant,
        OpcUaAdapter(plant.endpoint, node_tags("T0"), node_certificates) as opened,
    ):
        found = await opened.call(NAMESPACE, "Plant/Add", {"b": 2, "a": 0.5})
        assert (found.is_known, found.status, found.values) == (True, 0, {"sum": 2.5})
        refused = await opened.call(NAMESPACE, "Plant/Add", {"a": -1.0, "b": 0.0})
        assert ua.StatusCode(refused.status).name == "BadOutOfRange"
        assert "BadOutOfRange" in refused.text
        mixed = {"parts": [1.5, 2.0], "times": 3, "really": True, "note": "süß"}
        assert (await opened.call(NAMESPACE, "Plant/Mix", mixed)).values == {"said": "1.5+2 3 true süß"}
        for wrong, said in (
            ({"times": 3.5}, "times is a UInt16, not 3.5"),
            ({"times": 70_000}, "times: raw value 70000; a UInt16 has 0 to 65535"),
            ({"times": True}, "times is a UInt16, not True"),
            ({"parts": 1.5}, "parts is an array"),
            ({"note": ["a"]}, "note is one value"),
            ({"note": 5}, "note is a text"),
            ({"really": 1}, "really is a Boolean, not 1"),
            ({"more": 1}, "more unknown; it takes parts, times, really, note"),
        ):
            with pytest.raises(InvalidInput, match=said):
                await opened.call(NAMESPACE, "Plant/Mix", mixed | wrong)
        with pytest.raises(InvalidInput, match="method Plant/Add: b missing; it takes a, b"):
            await opened.call(NAMESPACE, "Plant/Add", {"a": 1.0})
        for path in ("Plant/Nothing", "Plant"):
            with pytest.raises(AdapterError, match="no method"):
                await opened.call(NAMESPACE, path, {})
        with pytest.raises(AdapterError, match="urn:other"):
            await opened.call("urn:other", "Plant/Add", {})


async def test_a_call_without_an_answer_is_not_known(lasting_plant, node_certificates, node_tags, chaos, until):
    async with (
        lasting_plant() as plant,
        chaos(plant.endpoint) as line,
        OpcUaAdapter(line.endpoint, node_tags("T0"), node_certificates) as opened,
    ):
        found = await opened.call(NAMESPACE, "Plant/Sleep", {}, timeout_s=5.0)
        assert not found.is_known
        assert "before you try again" in found.text
        await line.refuse()
        line.abort()
        await until(lambda: not opened.connected)
        with pytest.raises(AdapterError, match="not connected"):
            await opened.call(NAMESPACE, "Plant/Add", {"a": 1.0, "b": 1.0})


@pytest.mark.parametrize("results", [None, [], [ua.CallMethodResult(), ua.CallMethodResult()]])
async def test_a_call_whose_answer_is_not_one_result_is_not_known(
    lasting_plant, node_certificates, node_tags, monkeypatch, results
):
    async with (
        lasting_plant() as plant,
        OpcUaAdapter(plant.endpoint, node_tags("T0"), node_certificates) as opened,
    ):

        async def answered(self, requests):
            return results

        monkeypatch.setattr(UaSession, "call", answered)
        found = await opened.call(NAMESPACE, "Plant/Add", {"a": 1.0, "b": 1.0})
    assert not found.is_known
    assert "before you try again" in found.text
