"""The gateway between real OPC UA servers and a real gRPC service that keeps what it gets."""

import asyncio
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from uem.hardware_adapters.gateway import Gateway, checked_server, main
from uem.hardware_adapters.metrics import served
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.spool import Spool
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import BAD_WAITING_FOR_INITIAL_DATA, NS_PER_S
from uem.twin_core.plant.territory import Territory

pytestmark = pytest.mark.usefixtures("_short_waits")


@asynccontextmanager
async def running(territory, endpoints, certificates, spool, server):
    made = Gateway(territory, endpoints, certificates, spool, server)
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
        stop.set()
        await asyncio.wait_for(task, 60)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def without_waiting(rows):
    return [row for row in rows if row[3] != BAD_WAITING_FOR_INITIAL_DATA]


def comparable(rows):
    return sorted((row[0], row[1], str(row[2]), row[3]) for row in without_waiting(rows))


@pytest.fixture
def territory(plant, bindings):
    return Territory(name="test", plants=(plant,), tags=bindings)


# --- from plant to service ---


async def test_every_row_of_a_plant_is_stored_once(
    open_hall, territory, shared_pki, spool, rows, until, service, serving
):
    async with open_hall() as hall, serving(service) as server:
        endpoints = {"hall": hall.server.endpoint}
        async with running(territory, endpoints, shared_pki.gateway, spool, server.address) as gateway:
            await until(lambda: gateway.links[0].connected)
            await hall.start()
            await until(lambda: len(without_waiting(service.rows)) >= len(without_waiting(rows)))
    assert comparable(service.rows) == comparable(rows)
    assert spool.batch_count == 0


async def test_outages_of_plant_and_service_lose_and_double_nothing(
    open_hall, territory, shared_pki, spool, until, bindings, service, serving
):
    """A counter is written by hand, so that the truth is known; both sides go down in turn."""
    written = []

    async def write(hall, count):
        for _ in range(count):
            n = len(written)
            written.append(n)
            await hall.server.write(1_700_000_000_000_000_000 + n * 1_000_000, [0.0, 1.0, float(n)], [0, 0, 0])
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)

    def counted():
        return [row[2] for row in without_waiting(service.rows) if row[0] == "hall/state"]

    async with open_hall() as hall:
        port = int(hall.server.endpoint.rsplit(":", 1)[1].split("/")[0])
        endpoints = {"hall": hall.server.endpoint}
        async with serving(service) as server:
            address, grpc_port = server.address, server.port
            gateway = Gateway(territory, endpoints, shared_pki.gateway, spool, address)
            stop = asyncio.Event()
            task = asyncio.create_task(gateway.run(stop))
            (link,) = gateway.links
            await until(lambda: link.connected)
            await write(hall, 10)
        await write(hall, 10)  # the service is down
        async with serving(service, grpc_port):
            await until(lambda: len(counted()) == 20)
    await until(lambda: not link.connected)  # the plant is down
    async with serving(service, grpc_port), open_hall(port=port) as hall:
        await until(lambda: link.connected)
        await write(hall, 10)
        await until(lambda: len(counted()) == 30)
        stop.set()
        await asyncio.wait_for(task, 60)
    assert counted() == [float(n) for n in written]
    assert link.reconnects >= 1


async def test_what_a_gateway_did_not_see_while_it_was_stopped_is_a_gap_of_each_tag_that_went_on(
    open_hall, territory, shared_pki, tmp_path, until, service, serving
):
    def time_ns(second):
        return 1_700_000_000_000_000_000 + second * NS_PER_S

    async with open_hall() as hall, serving(service) as server:
        endpoints = {"hall": hall.server.endpoint}
        for begin in (0, 10, 20):
            with Spool(tmp_path / "gateway" / "spool.db") as spool:
                async with running(territory, endpoints, shared_pki.gateway, spool, server.address) as gateway:
                    await until(lambda: gateway.links[0].connected)
                    await hall.server.write(time_ns(begin), [1.0, 1.0, 1.0], [0, 0, 0])
                    await until(lambda: sum(row[1] == time_ns(begin) for row in service.rows) == 3)  # noqa: B023
            for second in (begin + 1, begin + 2):
                await hall.server.write(time_ns(second), [1.0, 1.0, 1.0], [0, 0, 0])
    gaps = sorted((gap.tag_name, gap.start_time_ns, gap.end_time_ns) for gap in service.gaps)
    assert gaps == [
        (name, time_ns(begin), time_ns(begin + 2))
        for name in ("hall/power", "hall/state", "hall/temperature")
        for begin in (0, 10)
    ]


async def test_what_is_on_its_way_at_the_stop_waits_for_the_next_start(open_hall, territory, shared_pki, spool, until):
    async with open_hall() as hall:
        endpoints = {"hall": hall.server.endpoint}
        async with running(territory, endpoints, shared_pki.gateway, spool, "127.0.0.1:1") as gateway:
            await until(lambda: gateway.links[0].connected)
            await hall.server.write(1_700_000_000_000_000_000, [0.0, 1.0, 2.0], [0, 0, 0])
            await until(lambda: gateway.links[0].received >= 6)
    assert {row[0] for _, samples, *_ in spool.read(0, 100) for row in samples.rows()} == {
        "hall/temperature",
        "hall/power",
        "hall/state",
    }


async def test_a_clock_that_is_set_back_while_the_gateway_is_stopped_leaves_gaps(
    open_hall, territory, shared_pki, tmp_path, until
):
    real = replace(territory, plants=tuple(replace(plant, recording=None) for plant in territory.plants))
    early_ns, late_ns = 1_699_996_400_000_000_000, 1_700_000_000_000_000_000
    async with open_hall() as hall:
        endpoints = {"hall": hall.server.endpoint}
        for time_ns in (late_ns, early_ns):
            await hall.server.write(time_ns, [0.0, 1.0, 2.0], [0, 0, 0])
            with Spool(tmp_path / "spool.db") as spool:
                async with running(real, endpoints, shared_pki.gateway, spool, "127.0.0.1:1"):
                    await until(lambda at=time_ns: spool.kept.times_ns().get("hall/power") == at)
                gaps = [gap for batch in spool.read(0, 100) for gap in batch.gaps if gap.tag == "hall/power"]
    behind, before = gaps
    assert behind.start_ns == late_ns < behind.end_ns
    assert before.start_ns < early_ns == before.end_ns


# --- metrics ---


async def test_the_metrics_are_what_promtool_accepts_and_count_the_truth(
    open_hall, territory, shared_pki, spool, until
):
    async with open_hall() as hall:
        endpoints = {"hall": hall.server.endpoint}
        async with running(territory, endpoints, shared_pki.gateway, spool, "127.0.0.1:1") as gateway:
            gateway.lanes.lanes[0].uplink.rejected["not_finite"] = 3
            gateway.links[0]._problems_before["garbled"] = 4
            gateway.lanes.lanes[0].uplink.refused_batches = 2
            await until(lambda: gateway.links[0].connected)
            await hall.server.write(1_700_000_000_000_000_000, [0.0, 1.0, 2.0], [0, 0, 0])
            await until(lambda: gateway.links[0].received >= 6 and spool.batch_count)
            with served(gateway.families, "127.0.0.1", 0) as address:
                text = await asyncio.to_thread(scrape, address)
    values = {m[1]: float(m[2]) for m in re.finditer(r"^(uem_\S+) (\S+)$", text, re.M)}
    assert values['uem_gateway_samples_received_total{plant="hall"}'] == 6
    assert values['uem_gateway_bad_quality_samples_total{plant="hall"}'] == 3
    assert values['uem_gateway_connected{plant="hall"}'] == 1
    assert values['uem_gateway_rejected_samples_total{reason="not_finite"}'] == 3
    assert values["uem_gateway_refused_batches_total"] == 2
    assert values['uem_gateway_problems_total{kind="garbled",plant="hall"}'] == 4
    assert values["uem_gateway_refused_samples"] == 0
    assert values["uem_gateway_spool_batches"] >= 1
    assert values["uem_gateway_samples_delivered_total"] == 0
    assert 0 < values['uem_gateway_decode_seconds_total{plant="hall"}'] < 30
    days = values['uem_gateway_plant_certificate_expiry_seconds{plant="hall"}'] / 86_400
    assert 3 * 365 - 2 < days < 3 * 365 + 2
    assert 1 <= values['uem_gateway_publish_lag_seconds_count{plant="hall"}'] <= 6
    assert values['uem_gateway_rejected_samples_total{reason="bad_time"}'] == 0
    assert values["uem_gateway_certificate_expiry_seconds"] > 0
    assert 0 <= values['uem_gateway_newest_sample_age_seconds{plant="hall"}'] < 30
    if promtool := shutil.which("promtool"):
        checked = await asyncio.to_thread(
            subprocess.run, [promtool, "check", "metrics"], input=text, text=True, capture_output=True, timeout=60
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        return answer.read().decode()


def test_metrics_can_be_off_and_a_taken_port_is_named():
    with served(lambda: [], "127.0.0.1", -1) as address:
        assert address == ""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(InvalidInput, match=rf"127\.0\.0\.1:{port}.*--metrics-port"),
            served(list, "127.0.0.1", port),
        ):
            pass


# --- the command ---


@pytest.mark.parametrize("address", ["10.0.0.7:7650", "plant.example:7650", "7650", ""])
def test_samples_leave_the_machine_only_encrypted_so_not_yet(address):
    with pytest.raises(InvalidInput, match="only an address of this machine"):
        checked_server(address)


@pytest.mark.parametrize("address", ["127.0.0.1:7650", "localhost:1", "[::1]:7650"])
def test_an_address_of_this_machine_is_taken(address):
    assert checked_server(address) == address


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["atlantis"], "unknown territory 'atlantis'"),
        (["pongau"], "plant branch has no endpoint"),
        (["pongau", "--endpoint", "branch"], "--endpoint 'branch': write it as"),
        (["pongau", "--server", "8.8.8.8:7650"], "only an address of this machine"),
    ],
)
def test_a_wrong_start_is_one_clear_line_and_exit_code_1(arguments, said, capsys, tmp_path):
    assert main([*arguments, "--state", str(tmp_path)]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("uem gateway: error: ")
    assert said in error


def test_a_damaged_certificate_folder_stops_the_start(capsys, tmp_path):
    store = CertificateStore(tmp_path / "pki", "gateway")
    store.ensure()
    store.key_path.write_text("damaged")
    endpoints = [f"--endpoint={plant}=opc.tcp://127.0.0.1:1/x" for plant in ("branch", "machine")]
    assert main(["pongau", *endpoints, "--state", str(tmp_path)]) == 1
    assert "key.pem" in capsys.readouterr().err


def child(module, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_two_commands_work_together_and_end_with_0(number, tmp_path, until, service, serving):
    """The shipped territory, both processes, a service here; ends as `uem up` ends them."""
    state = ["--state", str(tmp_path / "state"), "--pki", str(tmp_path / "pki"), "--metrics-port", "0"]
    simulator = child("uem.hardware_adapters.simulator.main", "pongau", "--port", "0", "--speed", "5", *state)
    gateway = None
    try:
        ready = json.loads(await asyncio.to_thread(simulator.stdout.readline))
        assert ready["ready"]
        assert ready["process"] == "simulator"
        endpoints = [f"--endpoint={plant}={url}" for plant, url in ready["endpoints"].items()]
        async with serving(service) as server:
            gateway = child("uem.hardware_adapters.gateway", "pongau", "--server", server.address, *endpoints, *state)
            told = json.loads(await asyncio.to_thread(gateway.stdout.readline))
            assert told["process"] == "gateway"
            await until(lambda: len({row[0] for row in service.rows}) == 13)
            text = await asyncio.to_thread(scrape, ready["metrics"])
            assert float(re.search(r'rows_written_total{plant="machine"} (\S+)', text)[1]) > 0
            for process in (gateway, simulator):
                process.send_signal(number)
            assert await asyncio.to_thread(gateway.wait, 60) == 0
            assert await asyncio.to_thread(simulator.wait, 60) == 0
        assert "0 batches stay" in gateway.stderr.read()
        assert all(math.isfinite(row[2]) or row[3] for row in service.rows)
    finally:
        for process in (simulator, gateway):
            if process is not None:
                process.kill()
                process.wait(60)
                process.stdout.close()
                process.stderr.close()
