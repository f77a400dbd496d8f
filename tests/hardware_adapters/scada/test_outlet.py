"""What a control system sees of the twins."""

import asyncio
import dataclasses
import importlib.util
import json
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from asyncua import Client, ua

from uem.clients.errors import ClientError
from uem.clients.python import Client as TwinClient
from uem.clients.records import Asset, Kind, Signal, Source
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.engineering_units import _UNITS, WATT_HOUR, engineering_units
from uem.hardware_adapters.opcua.server.server import PointServer
from uem.hardware_adapters.opcua.server.users import UserFile
from uem.hardware_adapters.scada import main as scada_main
from uem.hardware_adapters.scada.energy import ECM, MACHINERY_ENERGY, MEASUREMENTS, STANDARD_DEVIATION, measured
from uem.hardware_adapters.scada.main import Outlet, SignalsChanged, families, main
from uem.hardware_adapters.scada.nodes import BAD_NO_DATA, NAMESPACE, TwinNodes
from uem.twin_core.units import UNITS

_path = Path(__file__).parents[2] / "clients" / "fake_server.py"
_spec = importlib.util.spec_from_file_location("uem_tests_fake_server", _path)
fake = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = fake
_spec.loader.exec_module(fake)

START = datetime(2009, 1, 23, tzinfo=UTC)


@asynccontextmanager
async def twins(shared_pki):
    """A fake uem server, our OPC UA server of it without security, and a client."""
    service = fake.FakeServer()
    async with fake.serving(service) as address, TwinClient(address) as twin_client:
        outlet = Outlet(twin_client)
        nodes = TwinNodes(await outlet.assets())
        async with (
            PointServer("twins", nodes.describe, shared_pki.open, policies=["None"]) as server,
            Client(server.endpoint) as client,
        ):
            index = await client.get_namespace_index(NAMESPACE)

            async def node(*path):
                return await client.nodes.objects.get_child([f"{index}:{step}" for step in ("Twins", *path)])

            yield SimpleNamespace(
                service=service, outlet=outlet, nodes=nodes, server=server, client=client, node=node, index=index
            )


async def read(node):
    """(value, status, source time) of a node."""
    found = await node.read_data_value(raise_on_bad_status=False)
    status = found.StatusCode.value if found.StatusCode else 0
    value = found.Value.Value if found.Value is not None else None
    return value, status, found.SourceTimestamp.replace(tzinfo=UTC) if found.SourceTimestamp else None


async def status_of(node, status):
    """Wait until a node has a status."""
    async with asyncio.timeout(60):
        while (await read(node))[1] != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def states(its, count):
    """Write the first states of each asset."""
    async for state in its.outlet._client.watch(reconnect_s=0.0):
        its.outlet.write(its.server, its.nodes, state)
        if its.outlet.states_written >= count:
            return


async def test_a_state_is_shown_with_its_quality_its_time_its_deviation_and_its_age(shared_pki):
    async with twins(shared_pki) as its:
        await states(its, 2)
        at = START + timedelta(minutes=1)
        twin = await its.node("branch", "State", "node.2.temperature.twin")
        value, status, time = await read(twin)
        assert (round(value, 9), status, time) == (89.0, 0, at)
        deviation, status, _ = await read(await twin.get_child(f"{its.index}:StandardDeviation"))
        assert (deviation, status) == (0.5, 0)  # kelvin and degree Celsius have the same steps
        assert (await read(await twin.get_child(f"{its.index}:Age")))[0] == 60_000.0
        measured = await its.node("branch", "State", "node.2.temperature")
        assert (await read(measured))[1] == 0x40900000
        unknown = await measured.get_child(f"{its.index}:StandardDeviation")
        assert (await read(unknown))[:2] == (None, BAD_NO_DATA)
        loss = await its.node("branch", "State", "loss")
        assert (await read(loss))[0] == 1.5
        assert (await read(await loss.get_child(f"{its.index}:StandardDeviation")))[0] == 0.1
        assert (await read(await its.node("branch", "State", "heat_lost")))[0] == 1.0
        assert (await read(await its.node("washer", "State", "power")))[:2] == (None, 0x80000000)


async def test_units_and_types_are_those_of_the_standard(shared_pki):
    async with twins(shared_pki) as its:
        await states(its, 2)
        loss = await its.node("branch", "State", "loss")
        units = await (await loss.get_child("0:EngineeringUnits")).read_value()
        assert (units.UnitId, units.DisplayName.Text) == (4937556, "kW")  # "KWT"
        assert await loss.read_type_definition() == ua.NodeId(ua.ObjectIds.AnalogUnitType)
        assert await (await loss.get_child(f"{its.index}:Source")).read_value() == "estimated"
        state = await its.node("washer", "State", "state")
        assert await state.read_type_definition() == ua.NodeId(ua.ObjectIds.MultiStateDiscreteType)
        names = await (await state.get_child("0:EnumStrings")).read_value()
        assert [text.Text for text in names] == ["0", "1", "operational"]
        assert (await read(state))[0] == 2
        assert (await (await its.node("branch")).read_display_name()).Text == "Buried branch"


async def test_a_forecast_is_shown_with_its_band_and_its_times(shared_pki):
    async with twins(shared_pki) as its:
        forecast = await its.outlet._client.forecast("branch")
        now_ns = forecast.issue_time_ns + 90_000_000_000
        await its.nodes.write_forecast(its.server.space, forecast, now_ns)
        node = await its.node("branch", "Forecast", "node.2.temperature")
        value, status, time = await read(node)
        assert ([round(v, 9) for v in value], status, time) == ([87.0, 88.0], 0x40000000, START)
        parts = {}
        for part in ("Lower", "Upper", "ValidTimes", "IssueTime", "LowerLevel", "UpperLevel", "Age"):
            parts[part] = (await read(await node.get_child(f"{its.index}:{part}")))[0]
        assert parts["Age"] == 90_000.0
        assert [round(v, 9) for v in parts["Lower"]] == [86.0, 87.0]
        assert [round(v, 9) for v in parts["Upper"]] == [89.0, 90.0]
        assert (parts["LowerLevel"], parts["UpperLevel"]) == (0.05, 0.95)
        valid = [time.replace(tzinfo=UTC) for time in parts["ValidTimes"]]
        assert valid == [START + timedelta(minutes=15), START + timedelta(minutes=30)]
        await its.nodes.write_forecast(its.server.space, forecast, now_ns, is_old=True)
        assert (await read(node))[1] == 0x40900000


async def test_what_a_meter_would_show_is_there_as_the_standards_have_it(shared_pki):
    async with twins(shared_pki) as its:
        await states(its, 2)
        ecm, machinery = [await its.client.get_namespace_index(uri) for uri in (ECM, MACHINERY_ENERGY)]
        point = await its.node("branch", "Energy", "node.2")
        assert await point.read_type_definition() == ua.NodeId(1006, ecm)
        (interface,) = await point.get_referenced_nodes(ua.ObjectIds.HasInterface)
        assert interface.nodeid == ua.NodeId(1008, machinery)
        value = await point.get_child(f"{ecm}:Temperature")
        assert value.nodeid == ua.NodeId("branch/Energy/node.2/Temperature", its.index)
        assert await value.read_type_definition() == ua.NodeId(2002, ecm)
        assert await value.read_data_type() == ua.NodeId(ua.ObjectIds.Float)
        assert (await read(value))[:2] == (pytest.approx(362.15), 0)  # the twin's, in kelvin
        assert (await read(await value.get_child(f"{its.index}:StandardDeviation")))[:2] == (0.5, 0)
        assert (await (await value.get_child("0:EngineeringUnits")).read_value()).DisplayName.Text == "K"
        assert await (await value.get_child(f"{ecm}:MeasurementID")).read_value() == 28684
        resource = await value.get_child(f"{ecm}:Resource")
        assert await (await resource.get_child("0:ValueAsText")).read_value() == ua.LocalizedText("Hot Water")
        accuracy = await value.get_child(f"{ecm}:AccuracyClass")
        assert await accuracy.read_type_definition() == ua.NodeId(ua.ObjectIds.MultiStateValueDiscreteType)
        assert await accuracy.read_value() == STANDARD_DEVIATION
        domain = its.client.get_node(await (await value.get_child(f"{ecm}:AccuracyDomain")).read_value())
        assert await domain.read_type_definition() == ua.NodeId(1014, ecm)
        power = await its.node("washer", "Energy", "Main")
        assert (await read(await power.get_child(f"{ecm}:AcActivePowerTotal")))[:2] == (240.0, 0)


def test_the_signals_of_the_shipped_plants_are_measurements_of_points():
    def asset(kind, *signals):
        made = [Signal(name, unit, unit, Source.ESTIMATED, "", {}) for name, unit in signals]
        return Asset("a", kind, "A", tuple(made))

    network = asset(
        Kind.HEAT_NETWORK,
        *[("node/A/flow", "kg/s"), ("node/A/temperature", "K"), ("node/A/temperature/twin", "K")],
        *[("node/A/temperature/bias", "K"), ("energy/in", "J"), ("energy/out", "J"), ("pipe/A/flow", "kg/s")],
    )
    assert {(f.signal, f.point, f.measurement) for f in measured(network)} == {
        (0, "node.A", "MassFlowRate"),
        (2, "node.A", "Temperature"),
        (4, "Main", "NeEnergyImportHp"),
        (5, "Main", "NeEnergyExportHp"),
    }
    machine = asset(Kind.MACHINE, ("power", "W"), ("energy", "J"), ("energy/twin", "1"))
    found = {(f.signal, f.measurement) for f in measured(machine)}
    assert found == {(0, "AcActivePowerTotal"), (1, "AcActiveEnergyTotalImportHp")}
    assert MEASUREMENTS["AcActiveEnergyTotalImportHp"].identifier == 1002
    assert WATT_HOUR.UnitId == 5720146  # OPC 40001-4, table 3


async def test_node_ids_are_made_of_names_alone(shared_pki):
    async with twins(shared_pki) as its:
        for path in (("branch",), ("branch", "State"), ("branch", "Forecast"), ("branch", "Energy")):
            assert (await its.node(*path)).nodeid == ua.NodeId("/".join(path), its.index)


async def test_without_the_server_the_last_values_are_uncertain(shared_pki):
    async with twins(shared_pki) as its:
        its.service.ticks = 3  # then the stream ends
        following = asyncio.create_task(its.outlet.follow(its.server, its.nodes))
        node = await its.node("branch", "State", "loss")
        await status_of(node, 0x40900000)
        value, _, time = await read(node)
        assert (value, time) == (1.5, START + timedelta(minutes=2))
        assert (await read(await its.node("washer", "State", "power")))[1] == 0x80000000
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_other_signals_need_other_nodes(shared_pki):
    async with twins(shared_pki) as its:
        changed = fake.twin_pb2.Asset()
        changed.CopyFrom(fake.BRANCH)
        changed.signals[0].name = "node/9/temperature"
        its.service.assets["branch"] = changed
        with pytest.raises(SignalsChanged):
            await its.outlet.follow(its.server, its.nodes)


def test_every_unit_that_we_show_has_its_code():
    assert set(UNITS) == set(_UNITS)
    assert engineering_units("Cel").UnitId == 4408652  # the example of OPC 10000-8
    assert engineering_units("furlong").UnitId == -1


def test_metrics_have_the_names_of_the_guide(shared_pki, tmp_path):
    names = [metric.name for metric in families(Outlet(None), shared_pki.simulator, UserFile(tmp_path))]
    assert names == [
        "uem_opcua_info",
        "uem_opcua_states_written",
        "uem_opcua_server_connected",
        "uem_opcua_certificate_expiry_seconds",
        "uem_opcua_refused_logins",
    ]


def test_an_open_server_for_others_is_refused(capsys, tmp_path):
    arguments = ["--insecure", "--host", "0.0.0.0", "--server", "127.0.0.1:1", "--metrics-port", "-1"]
    assert main([*arguments, "--state", str(tmp_path)]) == 1
    assert "for loopback addresses" in capsys.readouterr().err  # at once, without waiting for the server


async def test_the_process_serves_trusted_clients_until_it_is_told_to_stop(tmp_path):
    service = fake.FakeServer()
    own, scada = CertificateStore(tmp_path / "pki", "twin"), CertificateStore(tmp_path / "scada", "scada")
    own.ensure()
    scada.ensure()
    own.trust(scada.certificate)
    async with fake.serving(service) as address:
        command = [sys.executable, "-m", "uem.hardware_adapters.scada.main", "--server", address, "--port", "0"]
        process = await asyncio.create_subprocess_exec(
            *command, "--metrics-port", "0", "--state", str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 120))
        client = Client(ready["endpoint"])
        client.application_uri = scada.application_uri
        keys = f"{scada.certificate_path},{scada.key_path}"
        await client.set_security_string(f"Aes256Sha256RsaPss,SignAndEncrypt,{keys}")
        async with asyncio.timeout(60), client:
            index = await client.get_namespace_index(NAMESPACE)
            node = client.get_node(ua.NodeId("branch/State/loss", index))
            await status_of(node, 0)
        process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, log.decode()


async def test_an_asset_that_is_gone_does_not_end_the_server_when_the_line_is_lost(shared_pki):
    async with twins(shared_pki) as its:
        await states(its, 2)
        del its.service.assets["washer"]  # the server starts anew without it
        nodes = TwinNodes(await its.outlet.assets())
        async with PointServer("twins", nodes.describe, shared_pki.open, policies=["None"]) as server:
            its.service.ticks = 3  # then the stream ends
            following = asyncio.create_task(its.outlet.follow(server, nodes))
            node = server.space.server.get_node(ua.NodeId("branch/State/loss", its.index))
            held = asyncio.create_task(status_of(node, 0x40900000))
            await asyncio.wait([held, following], return_when=asyncio.FIRST_COMPLETED)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following


async def test_a_server_that_falls_silent_is_asked_and_its_values_are_uncertain(shared_pki, monkeypatch):
    monkeypatch.setattr(scada_main, "SILENCE_S", 0.2)
    async with twins(shared_pki) as its:
        all_states, asked = its.outlet._client.watch, []

        async def watch(**options):
            if asked:  # nobody answers any more
                raise ClientError("no answer", "DEADLINE_EXCEEDED")
            asked.append(1)
            async for state in all_states(**options):
                yield state
                if its.outlet.states_written >= 3:
                    await asyncio.sleep(3600)  # the line stands, as far as one can see

        monkeypatch.setattr(its.outlet._client, "watch", watch)
        following = asyncio.create_task(its.outlet.follow(its.server, its.nodes))
        await status_of(await its.node("branch", "State", "loss"), 0x40900000)
        assert not its.outlet.is_connected
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_value_that_is_not_there_is_bad_whatever_its_quality_says(shared_pki):
    async with twins(shared_pki) as its:
        async with aclosing(its.outlet._client.watch()) as found:
            async for state in found:
                if state.asset.name == "washer":
                    break
        value = np.full_like(state.value, np.nan)
        uncertain = np.full_like(state.quality, 0x40000000)
        its.outlet.write(its.server, its.nodes, dataclasses.replace(state, value=value, quality=uncertain))
        for name in ("state", "power"):
            assert (await read(await its.node("washer", "State", name)))[:2] == (None, BAD_NO_DATA)
