import asyncio
import dataclasses
import itertools
import json
import socket
import subprocess
import sys

import pytest
from asyncua import Client, ua

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.simulator.main import families, main, prepare, trust_each_other
from uem.hardware_adapters.simulator.recording import read_recording
from uem.hardware_adapters.simulator.server import PlantServer, columns_of, with_speed
from uem.territories.load import load
from uem.twin_core.errors import AdapterError, InvalidInput
from uem.twin_core.measurements import BAD_WAITING_FOR_INITIAL_DATA, NS_PER_S, OVERFLOW


async def test_only_the_encrypted_endpoint_is_offered(open_hall):
    async with open_hall() as hall:
        endpoints = await Client(hall.server.endpoint).connect_and_get_server_endpoints()
    assert [(e.SecurityPolicyUri.rpartition("#")[2], e.SecurityMode.name) for e in endpoints] == [
        ("Basic256Sha256", "SignAndEncrypt")
    ]
    (token,) = endpoints[0].UserIdentityTokens
    assert token.TokenType == ua.UserTokenType.Anonymous


async def test_no_session_is_opened_without_a_certificate(open_hall, caplog):
    """The channel for discovery is open by the standard; a session on it must not be."""
    async with open_hall() as hall:
        client = Client(hall.server.endpoint)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        parameters = ua.CreateSessionParameters()
        parameters.EndpointUrl = hall.server.endpoint
        parameters.ClientNonce = bytes(32)
        parameters.RequestedSessionTimeout = 60_000
        await client.uaclient.create_session(parameters)
        activation = ua.ActivateSessionParameters()
        activation.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await client.uaclient.activate_session(activation)
        with pytest.raises(ua.UaError):
            await client.get_namespace_array()
        client.disconnect_socket()
        await asyncio.sleep(0.05)
    assert any("refused a session" in record.message for record in caplog.records)


async def test_the_certificate_of_another_does_not_open_a_session(open_hall, shared_pki, tmp_path):
    """A session that names a trusted certificate on a channel opened with a stranger's key."""
    stranger = CertificateStore(tmp_path, "gateway")
    stranger.ensure()
    async with open_hall() as hall:
        client = Client(hall.server.endpoint)
        client.application_uri = shared_pki.gateway.application_uri
        await client.set_security_string(
            f"Basic256Sha256,SignAndEncrypt,{stranger.certificate_path},{stranger.key_path}"
        )
        policy = client.security_policy
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        parameters = ua.CreateSessionParameters()
        parameters.EndpointUrl = hall.server.endpoint
        parameters.ClientNonce = bytes(32)
        parameters.RequestedSessionTimeout = 60_000
        parameters.ClientCertificate = shared_pki.gateway.certificate_path.read_bytes()
        parameters.ClientDescription.ApplicationUri = shared_pki.gateway.application_uri
        created = await client.uaclient.create_session(parameters)
        activation = ua.ActivateSessionParameters()
        activation.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
        activation.ClientSignature.Algorithm = policy.AsymmetricSignatureURI
        activation.ClientSignature.Signature = policy.asymmetric_cryptography.signature(
            shared_pki.simulator.certificate_path.read_bytes() + created.ServerNonce
        )
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await client.uaclient.activate_session(activation)
        client.disconnect_socket()
        await asyncio.sleep(0.05)


async def test_clients_cannot_write(open_hall, shared_pki):
    async with open_hall() as hall:
        client = Client(hall.server.endpoint)
        client.application_uri = shared_pki.gateway.application_uri
        own = shared_pki.gateway
        await client.set_security_string(f"Basic256Sha256,SignAndEncrypt,{own.certificate_path},{own.key_path}")
        async with client:
            index = await client.get_namespace_index("urn:uem:test:hall")
            node = client.get_node(ua.NodeId("Hall/Power", index))
            with pytest.raises(ua.UaError):
                await node.write_value(99.0)


async def test_rows_are_paced_by_the_plants_time_and_late_ones_catch_up(open_hall, monkeypatch):
    """Rows of 0.25 s at speed 12.5 are due every 0.02 s; after a pause of the process the late ones wait no more."""
    written, ended, waits = [], [], []
    clock, sleep = asyncio.get_running_loop().time, asyncio.sleep
    async with open_hall() as hall:
        write = hall.server.write

        async def slow_once(time_ns, raw, quality):
            written.append((clock(), time_ns))
            if len(written) == 5:
                await sleep(0.3)
            await write(time_ns, raw, quality)
            ended.append(clock())

        async def noted(seconds):
            if asyncio.current_task() in hall.playing:
                waits.append((clock(), seconds))
            await sleep(seconds)

        monkeypatch.setattr(hall.server, "write", slow_once)
        monkeypatch.setattr(asyncio, "sleep", noted)
        began = clock()
        await hall.start()
        await asyncio.wait_for(hall.playing[0], 60)
    times = [time_ns for _, time_ns in written]
    assert len(times) == 40
    assert times == sorted(set(times))
    assert all(at >= began + 0.02 * row - 2e-3 for row, (at, _) in enumerate(written))
    first = waits[0][0]  # the recording began between `began` and this
    due = [first + 0.02 * row for row in range(1, 40)]
    assert all(wait <= max(0.0, its - end) for (_, wait), its, end in zip(waits[1:], due, ended, strict=False))
    assert [wait for _, wait in waits[5:18]] == [0.0] * 13


async def test_a_looped_plant_goes_on_in_time(plant, bindings, shared_pki):
    looped = dataclasses.replace(plant, recording=dataclasses.replace(plant.recording, loop=True, speed=100.0))
    recording = read_recording(plant.recording.path, "t", columns_of(bindings, "hall"))
    async with (
        PlantServer(looped, bindings, shared_pki.simulator) as server,
        OpcUaAdapter(server.endpoint, bindings, shared_pki.gateway, publish_interval_ms=50.0) as adapter,
    ):
        task = asyncio.create_task(server.play(recording))
        rows = await collected(adapter, 300, 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        dropped = adapter.dropped
    times = [row[1] for row in rows if row[0] == "hall/power"]
    assert times[-1] - times[0] > 80 * 250_000_000  # the recording has 40 rows
    steps = {b - a for a, b in itertools.pairwise(times)}
    # A stalled machine may overflow the server's queue; then the loss is told, and time still only goes forward.
    assert steps == {250_000_000} or (dropped and all(s > 0 and s % 250_000_000 == 0 for s in steps))


async def test_values_that_a_full_queue_drops_are_told(plant, bindings, shared_pki):
    """A client asks for 100 places, 1,000 rows come at once: the value behind every gap is marked, and no other."""
    async with (
        PlantServer(plant, bindings, shared_pki.simulator) as server,
        OpcUaAdapter(server.endpoint, bindings, shared_pki.gateway, publish_interval_ms=500.0) as adapter,
    ):
        for second in range(1000):
            await server.write(second * NS_PER_S, [float(second)] * len(bindings), [0] * len(bindings))
        rows, ended = [], 0
        async with asyncio.timeout(60):
            async for samples in adapter.batches():
                new = [row for row in samples.rows() if row[3] != BAD_WAITING_FOR_INITIAL_DATA]
                rows += new
                ended += sum(row[1] == 999 * NS_PER_S for row in new)  # the newest row of a tag is never dropped
                if ended == len(bindings):
                    break
        dropped = adapter.dropped
    marks = 0
    for binding in bindings:
        got = [(row[1] // NS_PER_S, row[3]) for row in rows if row[0] == binding.tag.name]
        behind = {second for (before, _), (second, _) in itertools.pairwise([(-1, 0), *got]) if second != before + 1}
        assert {second for second, quality in got if quality == OVERFLOW} == behind
        marks += len(behind)
    assert dropped == marks >= len(bindings)


async def test_a_new_server_says_that_it_waits_for_data(open_hall, bindings, shared_pki):
    async with (
        open_hall() as hall,
        OpcUaAdapter(hall.server.endpoint, bindings, shared_pki.gateway, publish_interval_ms=50.0) as adapter,
    ):
        async for samples in adapter.batches():
            rows = list(samples.rows())
            break
    assert {row[3] for row in rows} == {BAD_WAITING_FOR_INITIAL_DATA}
    assert {row[1] for row in rows} == {1_669_213_388_000_000_000}


async def test_a_taken_port_is_named(plant, bindings, shared_pki):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AdapterError, match=rf"plant hall: cannot listen on 127\.0\.0\.1:{port}.*--port"):
            async with PlantServer(plant, bindings, shared_pki.simulator, port=port):
                pass


async def test_a_plant_without_recording_has_nothing_to_play(plant, bindings, shared_pki):
    bare = dataclasses.replace(plant, recording=None, endpoint="opc.tcp://x:1")
    assert with_speed(bare, 3.0) is bare
    async with PlantServer(bare, bindings, shared_pki.simulator) as server:
        with pytest.raises(InvalidInput, match="has no recording"):
            await server.play(None)


def test_a_tag_without_a_column_is_named(bindings, make_binding):
    with pytest.raises(InvalidInput, match="plant hall: tags a/b have no column"):
        columns_of((*bindings, make_binding("a/b", "A/B", "")), "hall")


def test_speed_multiplies_the_recordings_own(plant):
    assert with_speed(plant, 4.0).recording.speed == 50.0


def test_every_plant_of_the_shipped_territory_is_prepared(shared_pki):
    prepared = prepare(load("pongau"), shared_pki.simulator, host="127.0.0.1", port=4840, speed=2.0)
    assert [(server.plant.name, server._address, server.plant.recording.speed) for server, _ in prepared] == [
        ("branch", ("127.0.0.1", 4840), 900.0),
        ("machine", ("127.0.0.1", 4841), 20.0),
    ]
    names = [metric.name for metric in families([server for server, _ in prepared], shared_pki.simulator)]
    assert names == [
        "uem_simulator_info",
        "uem_simulator_rows_written",
        "uem_simulator_lag_seconds",
        "uem_simulator_certificate_expiry_seconds",
    ]


def test_a_territory_without_recordings_is_refused(tmp_path, capsys):
    real = tmp_path / "territory.toml"
    real.write_text('name = "real"\n[[plants]]\nname = "a"\nendpoint = "opc.tcp://x:1"\n')
    assert main([str(real), "--state", str(tmp_path), "--port", "0", "--metrics-port", "-1"]) == 1
    assert "territory real: no plant has a recording to play or is simulated" in capsys.readouterr().err


def test_simulator_and_gateway_trust_each_other_in_a_demonstration(tmp_path, caplog):
    simulator, gateway = CertificateStore(tmp_path, "simulator"), CertificateStore(tmp_path, "gateway")
    with caplog.at_level("INFO"):
        trust_each_other(simulator, gateway)
        trust_each_other(simulator, gateway)
    simulator.check(gateway.certificate_path.read_bytes(), gateway.application_uri)
    gateway.check(simulator.certificate_path.read_bytes(), simulator.application_uri)
    said = [record.message for record in caplog.records]
    assert sum("made a certificate" in text for text in said) == 2
    assert sum("trust each other" in text for text in said) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--speed", "0"], "--speed 0.0: must be positive"), (["--speed", "nan"], "--speed nan")],
)
def test_a_wrong_start_is_one_clear_line(arguments, said, capsys, tmp_path):
    assert main(["pongau", *arguments, "--state", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err


def test_wrong_usage_ends_with_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--speed", "fast"])
    assert ended.value.code == 2
    assert "uem simulator" in capsys.readouterr().err


def test_the_simulator_plays_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "uem.hardware_adapters.simulator.main", "pongau", "--port", "0"]
    with subprocess.Popen(
        [*command, "--metrics-port", "0", "--state", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        ready = json.loads(process.stdout.readline())
        process.terminate()
        rest, log = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, ""), log
    assert ready["ready"]
    assert set(ready["endpoints"]) == {"branch", "machine"}
    assert all(url.startswith("opc.tcp://127.0.0.1:") for url in ready["endpoints"].values())


def test_a_taken_metrics_port_ends_with_1_and_the_option(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "uem.hardware_adapters.simulator.main", "--port", "0"]
        run = subprocess.run(
            [*command, "--metrics-port", port, "--state", str(tmp_path)], capture_output=True, text=True, timeout=120
        )
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.splitlines()[-1].startswith("uem simulator: error: metrics: cannot listen on 127.0.0.1")
    assert "--metrics-port" in run.stderr
