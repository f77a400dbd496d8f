"""Faults that people put into living plants, and the socket by which they do."""

import asyncio
import json
import socket

import pytest
from shipped import shipped

from uem.clients.cli import inject
from uem.hardware_adapters.simulator import living
from uem.hardware_adapters.simulator.faults import Faults
from uem.hardware_adapters.simulator.injecting import SOCKET, answer, taking
from uem.hardware_adapters.simulator.living import Living
from uem.twin_core.errors import TwinError

VALLEE = shipped("vallee")
TAG, OTHER = "station/school-01/supply_temperature", "station/school-02/supply_temperature"


@pytest.fixture
def valley(monkeypatch):
    monkeypatch.setattr(living, "SETTLE_S", 1800.0)
    found = Living(VALLEE)
    found.begin()
    return found


@pytest.fixture
def faults(valley):
    return Faults(VALLEE, valley)


def told(faults, time_ns, value):
    return {tag: value for tag, _, value, _ in faults.told([(TAG, time_ns, value, 0), (OTHER, time_ns, value, 0)])}


def test_instruments_are_off_stay_as_they_were_or_say_nothing(faults):
    assert told(faults, 1, 350.0) == {TAG: 350.0, OTHER: 350.0}
    faults.inject("offset", TAG, 3.0)
    assert told(faults, 2, 351.0) == {TAG: 354.0, OTHER: 351.0}
    faults.clear()
    faults.inject("freeze", TAG)
    assert told(faults, 3, 352.0) == {TAG: 351.0, OTHER: 352.0}
    assert told(faults, 4, 353.0) == {TAG: 351.0, OTHER: 353.0}
    faults.inject("silence", TAG)
    assert told(faults, 5, 354.0) == {OTHER: 354.0}
    faults.inject("silence", "stations")
    assert told(faults, 6, 355.0) == {}
    faults.clear()
    assert told(faults, 7, 356.0) == {TAG: 356.0, OTHER: 356.0}


def test_a_fault_ends_after_its_plant_time(valley, faults):
    faults.inject("trip", "incinerator", for_s=120.0)
    for _ in range(2):
        faults.expire()
        assert [fault.what for fault in faults.now] == ["incinerator"]
        valley.step(60.0)
    assert valley.networks["valley"].values()["unit/incinerator/running"] == 0.0
    faults.expire()
    valley.step(60.0)
    assert faults.now == ()
    assert valley.networks["valley"].values()["unit/incinerator/running"] == 1.0


def test_a_machine_stands_until_it_is_cleared(valley, faults):
    state = "graphite-works/press/state"

    def shown():
        valley.step(5.0)
        return valley.factories["graphite-works"].shown()[state]

    before = shown()
    faults.inject("stop", "graphite-works/press")
    assert shown() != before
    faults.clear()
    assert shown() == before


def test_each_of_two_stops_that_overlap_holds_by_itself(valley, faults):
    def down():
        valley.step(5.0)
        faults.expire()
        return [name for name in valley.factories["dairy"].failed() if name.startswith("chillers")]

    assert down() == []
    names = ["chillers-1", "chillers-2", "chillers-3"]
    faults.inject("stop", "dairy/chillers")
    faults.inject("stop", "dairy/chillers-2", for_s=10.0)
    for _ in range(4):
        assert down() == names
    faults.inject("stop", "dairy/chillers-2")
    faults.inject("stop", "dairy/chillers", for_s=10.0)  # once more: now it ends
    down(), down()
    assert down() == names[1:2]
    faults.clear()
    assert down() == []


@pytest.mark.parametrize(
    ("kind", "what", "why"),
    [
        ("explode", "gas-1", "there are trip, stop"),
        ("trip", "school-01", "that can trip; they are heat-pump"),
        ("trip", "nobody", "that can trip"),
        ("stop", "bakery/oven", "factories are graphite-works"),
        ("stop", "dairy/oven", "oven"),
        ("offset", "nothing/here", "no tag"),
        ("silence", "nowhere", "no tag and no simulated plant"),
    ],
)
def test_what_is_not_there_is_refused_and_leaves_no_fault(faults, kind, what, why):
    with pytest.raises(TwinError, match=why):
        faults.inject(kind, what)
    assert faults.now == ()


@pytest.mark.parametrize(
    ("value", "for_s"), [("NaN", "null"), ("1e400", "null"), ("0", "1e400"), ("0", "-5"), ("0", "0")]
)
def test_numbers_that_cannot_be_are_refused_and_leave_no_fault(faults, value, for_s):
    line = f'{{"do": "offset", "what": "{TAG}", "value": {value}, "for_s": {for_s}}}'
    assert "must be finite" in answer(faults, line.encode())["error"]
    assert faults.now == ()


def test_without_a_network_nothing_can_trip(valley):
    valley.networks.clear()
    faults = Faults(VALLEE, valley)
    with pytest.raises(TwinError, match="no network is simulated"):
        faults.inject("trip", "gas-1")
    assert faults.now == ()


DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b"\xff",
        b'{"do": "offset", "what": "x", "value": "much"}',
        b'{"do": "offset", "what": "x", "value": 1%s}' % (b"0" * 400),
        DEEP,
    ],
    ids=lambda line: line[:60],
)
def test_a_line_that_says_nothing_is_refused(faults, line):
    assert answer(faults, line) == {"error": "not a line of JSON that says what to do"}


async def test_the_command_puts_a_fault_in_lists_it_and_clears_it(faults, tmp_path, capsys):
    def command(*arguments):
        return asyncio.to_thread(inject.main, ["vallee", *arguments, "--state", str(tmp_path)])

    async with taking(faults, tmp_path):
        assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
        assert await command("trip", "gas-1", "--for", "10m") == 0
        assert capsys.readouterr().out == "trip gas-1 until 2026-01-12 05:10:00Z (plant time)\n"
        assert await command("offset", TAG, "-3") == 0
        capsys.readouterr()
        assert await command("--list") == 0
        assert capsys.readouterr().out.splitlines()[1:] == [f"offset {TAG} -3"]
        assert await command("trip", "school-01") == 1
        assert "is no unit of valley that can trip" in capsys.readouterr().err
        assert await command("clear") == 0
        assert capsys.readouterr().out == "no faults\n"
        _, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        writer.write(b"x" * 100_000 + b"\n")  # nobody who sends nonsense ends it
        writer.close()
        assert await command("--list") == 0
    assert not (tmp_path / SOCKET).exists()
    assert await command("--list") == 1
    assert "no simulated plant of vallee runs here: start it with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["trip"], ["clear", "gas-1"], ["offset", TAG], ["trip", "gas-1", "3"], ["trip", "gas-1", "--list"]],
)
def test_a_command_that_is_not_whole_is_wrong_usage(arguments):
    with pytest.raises(SystemExit) as ended:
        inject.main(["vallee", *arguments])
    assert ended.value.code == 2


async def asked(folder, line):
    """The faults that there are after a line was sent."""
    reader, writer = await asyncio.open_unix_connection(folder / SOCKET)
    writer.write(line + b"\n")
    said = json.loads(await reader.read())
    writer.close()
    return said["faults"]


async def test_a_line_that_is_nested_too_deep_is_refused_and_the_next_one_answered(faults, tmp_path):
    async with taking(faults, tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        writer.write(DEEP[20_000:-20_000] + b"\n")
        async with asyncio.timeout(5.0):
            assert json.loads(await reader.read()) == {"error": "not a line of JSON that says what to do"}
        writer.close()
        assert await asked(tmp_path, b'{"do": "list"}') == []


async def test_a_second_simulator_leaves_the_socket_of_the_first_alone(faults, tmp_path, caplog):
    async with taking(faults, tmp_path):
        async with taking(faults, tmp_path):
            assert "another simulator takes faults there" in caplog.text
        assert await asked(tmp_path, b'{"do": "list"}') == []


async def test_what_a_killed_simulator_left_is_taken_over(faults, tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET))
    async with taking(faults, tmp_path):
        assert await asked(tmp_path, b'{"do": "list"}') == []


async def test_a_fault_waits_for_the_step_that_is_being_made(faults, valley, tmp_path):
    async with taking(faults, tmp_path):
        async with valley.at_rest:
            asking = asyncio.create_task(asked(tmp_path, b'{"do": "trip", "what": "gas-1"}'))
            await asyncio.sleep(0.2)
            assert faults.now == ()
        assert [fault["what"] for fault in await asking] == ["gas-1"]


async def test_where_no_socket_can_be_made_plants_live_without(faults, tmp_path, caplog):
    folder = tmp_path / ("very-" * 30 + "long")
    async with taking(faults, folder):
        pass
    assert "no faults can be injected" in caplog.text
    assert json.dumps(answer(faults, b'{"do": "list"}'))


def test_options_of_the_command_may_stand_anywhere(tmp_path, capsys):
    assert inject.main(["vallee", "--state", str(tmp_path), "trip", "gas-1", "--for", "10m"]) == 1
    assert "no simulated plant of vallee runs here" in capsys.readouterr().err
