import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from uem.services.metrics import Metrics
from uem.services.standalone import main, serving
from uem.territories.load import load
from uem.twin_core.errors import StorageError

SERVICES = ("IngestionService", "HistoryService", "TwinService", "PredictionService", "StatusService")


@pytest.fixture
async def running(tmp_path):
    async with serving(load("pongau"), tmp_path, Metrics()) as server:
        yield server


@pytest.fixture
async def channel(running):
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(running.address, options=options) as channel:
        yield channel


async def test_all_services_are_listed_by_reflection(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        names = {service.name for service in response.list_services_response.service}
        break
    assert {f"uem.v1.{name}" for name in SERVICES} <= names


@pytest.mark.parametrize("name", SERVICES)
async def test_every_service_is_healthy_without_any_measurement(channel, name):
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=f"uem.v1.{name}"))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_follower_that_ended_is_not_serving(running):
    running.checks.ask()
    assert running.checks.is_well("uem.v1.TwinService")
    (task,) = [task for task in asyncio.all_tasks() if "Worker.run" in repr(task.get_coro())]
    task.cancel()
    await asyncio.wait([task])
    running.checks.ask()
    assert not running.checks.is_well("uem.v1.TwinService")
    assert running.checks.is_well("uem.v1.HistoryService")


def taken_port():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener, str(listener.getsockname()[1])


def options(tmp_path, **changed):
    given = {"--state": str(tmp_path), "--port": "0", "--metrics-port": "-1"} | changed
    return [part for pair in given.items() for part in pair]


def test_a_port_in_use_is_told_with_its_number_and_option(tmp_path, capsys):
    listener, port = taken_port()
    with listener:
        assert main(["pongau", *options(tmp_path, **{"--port": port})]) == 1
        told = capsys.readouterr().err
        assert "uem serve: error:" in told
        assert port in told
        assert "--port" in told
        assert main(["pongau", *options(tmp_path, **{"--metrics-port": port})]) == 1
        assert "--metrics-port" in capsys.readouterr().err


def test_a_host_beyond_this_machine_is_refused(tmp_path, capsys):
    assert main(["pongau", *options(tmp_path, **{"--host": "0.0.0.0"})]) == 1
    assert "--host 127.0.0.1" in capsys.readouterr().err


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["pongau", *options(tmp_path, **{"--state": str(tmp_path / "file" / "below")})]) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / "file" / "below") in told
    assert "--state" in told


async def test_a_history_in_use_by_another_server_is_refused(tmp_path, running):
    with pytest.raises(StorageError, match="in use"):
        async with serving(load("pongau"), tmp_path, Metrics()):
            raise AssertionError("two servers on one history")


def test_a_wrong_territory_tells_all_its_problems(tmp_path, capsys):
    wrong = tmp_path / "territory.toml"
    wrong.write_text('name = "x"\ntags = "tags.csv"\nbogus = 1\n\n[[networks]]\nname = "n"\n')
    assert main([str(wrong), *options(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "bogus" in told
    assert "nodes" in told
    assert main(["atlantis", *options(tmp_path)]) == 1
    assert "pongau" in capsys.readouterr().err


def test_wrong_usage_exits_two(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--port", "many"])
    assert caught.value.code == 2
