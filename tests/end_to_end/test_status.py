"""The status of a server with a real gateway that finds none of its plants."""

import asyncio

from uem.clients.python import Client
from uem.hardware_adapters import report
from uem.hardware_adapters.gateway import Gateway
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.spool import Spool
from uem.services.metrics import Metrics
from uem.services.standalone import serving
from uem.territories.load import load
from uem.twin_core.measurements import Samples


async def test_a_gateway_is_seen_at_the_server_with_its_plants_its_backlog_and_what_was_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "EVERY_S", 0.1)
    territory, certificates = load("pongau"), CertificateStore(tmp_path / "pki", "gateway")
    certificates.ensure()
    endpoints = {plant.name: "opc.tcp://127.0.0.1:1/x" for plant in territory.plants}
    with Spool(tmp_path / "spool.db") as spool:
        async with serving(territory, tmp_path / "state", Metrics()) as server:
            gateway = Gateway(territory, endpoints, certificates, spool, server.address)
            spool.append(
                Samples.from_rows([("branch/1/temperature", 10**18, 350.0, 0), ("nobody/knows", 10**18, 1.0, 0)])
            )
            waiting = gateway.status().backlog
            stop = asyncio.Event()
            running = asyncio.create_task(gateway.run(stop))
            async with Client(server.address) as client, asyncio.timeout(60):
                status = await client.status()
                while not status.gateways or status.gateways[0].delivered < 2:
                    await asyncio.sleep(0.05)
                    status = await client.status()
            stop.set()
            await running
    assert waiting.row_count == 2
    assert waiting.byte_count > 48
    (seen,) = status.gateways
    assert (seen.name, seen.backlog_rows, seen.rejected) == (spool.producer, 0, {"unknown_tag": 1})
    assert [(plant.plant, plant.connected) for plant in seen.plants] == [(p.name, False) for p in territory.plants]
    assert status.history_samples == 1
