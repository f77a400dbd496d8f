"""What a control system sees of the twins."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from asyncua import Client, ua

from uem.clients.python import Client as TwinClient
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.server.server import PointServer
from uem.hardware_adapters.scada.engineering_units import _UNITS, engineering_units
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
            PointServer("twins", nodes.describe, shared_pki.simulator, policies=["None"]) as server,
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
        await its.nodes.write_forecast(its.server.space, await its.outlet._client.forecast("branch"))
        node = await its.node("branch", "Forecast", "node.2.temperature")
        value, status, time = await read(node)
        assert ([round(v, 9) for v in value], status, time) == ([87.0, 88.0], 0x40000000, START)
        parts = {}
        for part in ("Lower", "Upper", "ValidTimes", "IssueTime", "LowerLevel", "UpperLevel"):
            parts[part] = (await read(await node.get_child(f"{its.index}:{part}")))[0]
        assert [round(v, 9) for v in parts["Lower"]] == [86.0, 87.0]
        assert [round(v, 9) for v in parts["Upper"]] == [89.0, 90.0]
        assert (parts["LowerLevel"], parts["UpperLevel"]) == (0.05, 0.95)
        valid = [time.replace(tzinfo=UTC) for time in parts["ValidTimes"]]
        assert valid == [START + timedelta(minutes=15), START + timedelta(minutes=30)]


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


def test_metrics_have_the_names_of_the_guide(shared_pki):
    names = [metric.name for metric in families(Outlet(None), shared_pki.simulator)]
    assert names == [
        "uem_opcua_info",
        "uem_opcua_states_written",
        "uem_opcua_server_connected",
        "uem_opcua_certificate_expiry_seconds",
    ]


def test_an_open_server_for_others_is_refused(capsys, tmp_path):
    arguments = ["--insecure", "--host", "0.0.0.0", "--server", "127.0.0.1:1", "--metrics-port", "-1"]
    assert main([*arguments, "--state", str(tmp_path)]) == 1
    assert "only on a loopback address" in capsys.readouterr().err  # at once, without waiting for the server


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
