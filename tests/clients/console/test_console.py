import asyncio
import hashlib
import json
import re
import struct
from pathlib import Path

import pytest
import websockets

from uem.clients.console import app, hub, past
from uem.clients.console.main import serving
from uem.clients.errors import ClientError

pytestmark = pytest.mark.slow
STATIC = Path(app.STATIC)


@pytest.fixture
async def page(console, kit):
    async with kit.serving(kit.FakeServer()) as server, console(server) as page:
        yield page


async def hello_of(live):
    async with asyncio.timeout(60):
        while True:
            message = await live.recv()
            if isinstance(message, str) and json.loads(message).get("assets"):
                return json.loads(message)


async def frame_of(live, number):
    async with asyncio.timeout(60):
        while True:
            message = await live.recv()
            if isinstance(message, bytes) and message[0] == number:
                return message


async def test_the_page_and_its_parts_come_with_headers_that_let_nothing_else_in(page):
    status, headers, body = await asyncio.to_thread(page.get, "/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for part in re.findall(rb'(?:src|href)="(/[^"]+)"', body):
        status, headers, _ = await asyncio.to_thread(page.get, part.decode())
        assert status == 200
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_page_asked_for_under_another_name_is_refused(page):
    status, _, _ = await asyncio.to_thread(lambda: page.get("/", Host="evil.example"))
    assert status == 400


async def test_nothing_outside_the_folder_is_served(page):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
        status, _, _ = await asyncio.to_thread(page.get, path)
        assert status == 404


async def test_a_browser_gets_what_assets_there_are_and_then_frames_of_each(page):
    async with page.live() as live:
        hello = await hello_of(live)
        assert [asset["name"] for asset in hello["assets"]] == ["branch", "washer"]
        assert hello["problem"] == ""
        assert hello["assets"][0]["signals"][1]["compared_with"] == "node/2/temperature"
        first = await frame_of(live, 0)
        assert first[2] == 1  # stands alone
        second = await frame_of(live, 0)
        assert second[2] == 0
        times_ms = [struct.unpack_from("<d", each, 8)[0] for each in (first, second)]
        assert times_ms[0] < times_ms[1]  # in the plant


async def test_a_page_from_elsewhere_cannot_open_the_stream(page):
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with page.live(origin="http://evil.example"):
            pass
    assert caught.value.response.status_code == 403
    async with page.live(origin=page.address.rstrip("/")) as live:
        assert await hello_of(live)


async def test_there_is_an_end_of_browsers_that_are_served_at_once(page, monkeypatch):
    monkeypatch.setattr(app, "MOST_BROWSERS", 1)
    async with page.live() as first:
        await hello_of(first)
        async with page.live() as second:
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await second.recv()
            assert caught.value.rcvd.code == app.TRY_AGAIN_LATER
    async with asyncio.timeout(60):
        while True:
            async with page.live() as third:
                try:
                    await third.recv()
                    return
                except websockets.ConnectionClosed:
                    await asyncio.sleep(0.05)


async def test_a_browser_that_does_not_read_for_a_while_gets_the_newest_and_is_told_what_it_missed(page, monkeypatch):
    monkeypatch.setattr(app, "FRAME_EVERY_S", 0.5)
    async with page.live() as live:
        await hello_of(live)
        await frame_of(live, 0)
        later = await frame_of(live, 0)
        missed = int.from_bytes(later[4:8], "little")
        assert missed >= 5  # the server has a new state every 20 ms


async def test_a_browser_that_takes_nothing_holds_nobody_up_and_is_let_go(page, monkeypatch):
    monkeypatch.setattr(app, "MOST_WAIT_S", 0.3)
    monkeypatch.setattr(app, "FRAME_EVERY_S", 0.0)
    monkeypatch.setattr(app, "frame", lambda *_: bytes(300_000))
    _, writer = await asyncio.open_connection("127.0.0.1", int(page.address.rstrip("/").rpartition(":")[2]), limit=1)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    host = page.address.split("//")[1].rstrip("/")
    writer.write(
        f"GET /live HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    writer.transport.pause_reading()
    async with page.live(max_size=None) as other:
        for _ in range(5):
            await frame_of(other, 0)
    writer.close()


async def test_the_page_says_when_the_server_is_lost_and_goes_on_when_it_is_back(console, kit):
    servicer = kit.FakeServer()
    async with kit.serving(servicer) as server:
        port = int(server.rpartition(":")[2])
        context = console(server)
        page = await context.__aenter__()
        live = await page.live().__aenter__()
        await hello_of(live)
    try:
        async with asyncio.timeout(60):
            while True:
                message = await live.recv()
                if isinstance(message, str) and json.loads(message).get("problem"):
                    break
        status, told = await asyncio.to_thread(page.json, "/health")
        assert status == 503
        assert told["problem"]
        async with kit.serving(servicer, port), asyncio.timeout(60):
            while not isinstance(message, str) or json.loads(message).get("problem", "none is told") != "":
                message = await live.recv()
            await frame_of(live, 0)
    finally:
        await live.close()
        await context.__aexit__(None, None, None)


async def test_an_unexpected_fault_is_not_well_and_passes_by(page, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(hub, "AGAIN_S", 0.05)
        broken.setattr(past.Past, "add", lambda *_: 1 / 0)
        told = {"problem": ""}
        async with asyncio.timeout(60):
            while "division by zero" not in told["problem"]:
                status, told = await asyncio.to_thread(page.json, "/health")
        assert status == 503
    async with asyncio.timeout(60):
        while status != 200:
            status, told = await asyncio.to_thread(page.json, "/health")


async def test_forecasts_have_their_band_and_one_that_is_not_there_is_no_error(page):
    status, found = await asyncio.to_thread(page.json, "/api/forecast/branch")
    assert status == 200
    (series,) = found["series"]
    assert found["quantile_level"] == [0.05, 0.95]
    assert series["signal"] == "node/2/temperature"
    assert len(series["time_ms"]) == len(series["value"]) == len(series["quantile"]) == 2
    assert series["quantile"][0][0] < series["value"][0] < series["quantile"][0][1]
    status, found = await asyncio.to_thread(page.json, "/api/forecast/nothing/demand")
    assert status == 200
    assert found["series"] == []
    assert "asset" in found["problem"]


async def test_trends_are_of_the_last_states_and_unknown_signals_are_named(page):
    async with page.live() as live:
        await hello_of(live)
        await frame_of(live, 0)
    path = "/api/trend/branch?signal=node/2/temperature/twin"
    status, found = await asyncio.to_thread(page.json, path)
    assert status == 200
    assert len(found["time_ms"]) == len(found["value"]) == len(found["standard_deviation"]) >= 1
    status, found = await asyncio.to_thread(page.json, "/api/trend/branch?signal=loss&signal=nothing&long=1")
    assert status == 404
    assert "nothing" in found["error"]


async def test_an_asset_that_waits_for_its_first_measurements_has_a_trend_without_points(console, kit):
    servicer = kit.FakeServer()
    servicer.ticks = 0  # no state comes
    async with kit.serving(servicer) as server, console(server) as page, page.live() as live:
        await hello_of(live)
        status, found = await asyncio.to_thread(page.json, "/api/trend/branch?signal=loss")
    assert status == 200
    assert found["value"] == []


async def test_alarms_that_are_active_and_who_is_not_well_are_told_to_browsers(console, kit):
    servicer = kit.FakeServer()
    servicer.alarm_states = (1, 2)
    async with kit.serving(servicer) as server, console(server) as page, page.live() as live, asyncio.timeout(60):
        while True:
            message = await live.recv()
            if isinstance(message, str) and json.loads(message)["kind"] == "watch":
                break
    watch = json.loads(message)
    (alarm,) = watch["alarms"]  # the other one is normal
    assert (alarm["plant"], alarm["text"], alarm["priority"]) == ("hall", "hot", "low")
    assert alarm["state"] == "unacknowledged"
    assert watch["active"] == 1
    health = {each["name"]: each for each in watch["health"]}
    assert health["branch"]["is_well"]
    assert not health["washer"]["is_well"]
    assert "2 tags" in health["washer"]["says"]
    assert health["store"]["says"] == "no space left"
    assert "not connected" in health["yard"]["says"]


async def test_only_this_machine_is_listened_to():
    with pytest.raises(ClientError, match="loopback"):
        async with serving("127.0.0.1:1", "0.0.0.0", 0):
            pass


async def test_a_port_that_is_taken_is_named(page):
    port = int(page.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ClientError, match=str(port)):
        async with serving("127.0.0.1:1", "127.0.0.1", port):
            pass


def test_no_part_of_the_page_names_another_host():
    for path in STATIC.rglob("*"):
        if path.suffix in (".html", ".css", ".js") and path.parent.name != "vendor":
            remote = re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"'`]+", path.read_text("utf-8"))
            assert not remote, path.name


def test_what_others_made_is_unchanged_and_has_its_licence():
    lines = (STATIC / "vendor" / "SHA256SUMS").read_text("utf-8").split("\n")
    sums = dict(reversed(line.split()) for line in lines if line)
    files = {path.name for path in (STATIC / "vendor").iterdir()} - {"SHA256SUMS"}
    assert set(sums) == files
    assert "uplot.LICENSE" in files
    for name, known in sums.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == known, name


def test_a_first_visit_takes_less_than_120_kb():
    import gzip

    sizes = {
        path.name: len(gzip.compress(path.read_bytes()))
        for path in STATIC.rglob("*")
        if path.suffix in (".html", ".css", ".js")
    }
    assert sum(sizes.values()) < 120_000, sizes
