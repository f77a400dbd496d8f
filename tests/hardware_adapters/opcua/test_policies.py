"""Without signing and encrypting: only on this machine, and only where a person allowed it."""

import dataclasses

import pytest

from uem.hardware_adapters import gateway
from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.policies import check, is_loopback
from uem.hardware_adapters.protocols import endpoints_of
from uem.hardware_adapters.simulator.server import PlantServer
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.territory import Plant, Territory

EPOCH_NS = 1_669_213_388_000_000_000


@pytest.fixture
def open_plant(plant):
    return dataclasses.replace(plant, security_policy="None")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_known_by_its_loopback_addresses(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com"])
def test_everything_else_is_another_machine(host):
    assert not is_loopback(host)
    with pytest.raises(InvalidInput, match="loopback addresses"):
        check(["None"], host, allow_open=True)


def test_the_flag_alone_opens_nothing():
    check(["Basic256Sha256"], "10.0.0.1", allow_open=True)
    with pytest.raises(InvalidInput, match="'Basic128Rsa15' is not one of"):
        check(["Basic128Rsa15"], "127.0.0.1", allow_open=True)


async def test_an_open_plant_on_this_machine_is_read_when_both_sides_allow_it(open_plant, bindings, shared_pki):
    allowed = shared_pki.open
    async with PlantServer(open_plant, bindings, allowed) as server:
        adapter = OpcUaAdapter(server.endpoint, bindings, allowed, security_policy="None", publish_interval_ms=50.0)
        async with adapter as opened:
            await server.write(EPOCH_NS, [1.0, 2.0, 3.0], [0, 0, 0])
            assert sorted(row[0] for row in await collected(opened, 3, 60)) == sorted(b.tag.name for b in bindings)


async def test_an_open_plant_of_another_stack_is_read_as_well(node_plant, node_tags, shared_pki):
    async with (
        node_plant(open=True, counterMs=0) as plant,
        OpcUaAdapter(plant.endpoint, node_tags("T1"), shared_pki.open, security_policy="None") as opened,
    ):
        assert [row[2] for row in await collected(opened, 1, 60)] == [1.0]


def test_neither_side_takes_it_without_the_flag(open_plant, bindings, shared_pki):
    with pytest.raises(InvalidInput, match=r"plant hall: .* allow it with --allow-insecure-loopback"):
        PlantServer(open_plant, bindings, shared_pki.simulator)
    with pytest.raises(InvalidInput, match=r"lets anyone in; use Basic256Sha256, or allow it with"):
        OpcUaAdapter("opc.tcp://127.0.0.1:4840", bindings, shared_pki.gateway, security_policy="None")


def test_neither_side_takes_it_from_another_machine(open_plant, bindings, shared_pki):
    with pytest.raises(InvalidInput, match="not for '0"):
        PlantServer(open_plant, bindings, shared_pki.open, host="0.0.0.0")
    with pytest.raises(InvalidInput, match=r"opc.tcp://10.0.0.1:4840: .* not for '10\.0\.0\.1'"):
        OpcUaAdapter("opc.tcp://10.0.0.1:4840", bindings, shared_pki.open, security_policy="None")


def test_the_gateway_tells_it_before_it_opens_anything(tmp_path, capsys):
    (tmp_path / "territory.toml").write_text(
        'name = "here"\n[[plants]]\nname = "hall"\nendpoint = "opc.tcp://127.0.0.1:4840"\nsecurity_policy = "None"\n'
    )
    assert gateway.main([str(tmp_path), "--state", str(tmp_path / "state"), "--metrics-port", "-1"]) == 1
    assert "plant hall: security policy None neither signs nor encrypts" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_the_gateway_takes_it_with_the_flag_for_this_machine_only():
    plants = (Plant(name="a", endpoint="opc.tcp://localhost:1", security_policy="None"),)
    assert endpoints_of(Territory(name="t", plants=plants), {}, allow_open=True)
    with pytest.raises(InvalidInput, match=r"plant a: .* not for 'plant\.example\.com'"):
        endpoints_of(Territory(name="t", plants=plants), {"a": "opc.tcp://plant.example.com:4840"}, allow_open=True)
