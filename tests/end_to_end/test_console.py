"""The page in a real Chromium, over the living valley: what moves, what it asks for, what it finds."""

import asyncio
import contextlib
import importlib.util
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
UEM = [sys.executable, "-m", "uem.clients.cli"]

_spec = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
_chromium = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_chromium)


class Console(NamedTuple):
    """A running console: its page, the server behind it, and where the run keeps its state."""

    page: str
    server: str
    state: Path


@pytest.fixture
def devtools(tmp_path):
    """Address of a tab of a Chromium without a screen."""
    command = shutil.which("chromium")
    if command is None:
        assert os.environ.get("CI") != "true", "chromium is missing; on Debian: apt-get install chromium"
        pytest.skip("chromium is not installed; on Debian: apt-get install chromium")
    with _chromium.chromium(command, tmp_path / "profile") as address:
        yield address


@pytest.fixture
async def browser(devtools):
    """The tab, with everything noted that happens in it."""
    async with _chromium.tab(devtools) as made:
        yield made


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """The console of the running valley: 120 stations, an energy plant and four factories, simulated."""
    state = tmp_path_factory.mktemp("state")
    command = [*UEM, "up", "vallee", "--port", "0", "--metrics-port", "-1", "--console-port", "0"]
    with subprocess.Popen([*command, "--state", str(state)], stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        said = {}
        for line in process.stdout:
            word, _, rest = line.partition(" ")
            said.setdefault(word, rest.strip())
            if "page" in said and line.startswith("valley, "):
                break
        # What nobody reads would stop the view when the pipe is full.
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        try:
            yield Console(said["page"], said["gRPC"], state)
        finally:
            process.terminate()
            assert process.wait(120) == 0
            drain.wait(60)


@pytest.fixture
def another(console):
    """Start a further console on the server: `another(port)` gives the process and its address."""
    started = []

    def start(port="0"):
        command = [*UEM, "console", "--server", console.server, "--port", port]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, json.loads(process.stdout.readline())["address"]

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_the_page_shows_the_network_live_without_a_complaint_or_a_request_elsewhere(browser, console):
    await browser.ask("Page.navigate", url=console.page)
    await browser.until("document.querySelector('#key b[data-key=heat_in]')?.textContent.endsWith('MW')")
    assert await browser.value("document.getElementById('link').textContent") == "live"
    first = await browser.value("document.getElementById('clock').textContent")
    await browser.until(f"document.getElementById('clock').textContent > {json.dumps(first)}")
    assert "data age" in await browser.value("document.getElementById('age').textContent")

    # The map is drawn in the colours of temperatures, not only in greys.
    await browser.until(
        """(() => { const map = document.getElementById('map');
        const { data } = map.getContext('2d').getImageData(0, 0, map.width, map.height);
        let coloured = 0;
        for (let i = 0; i < data.length; i += 4) {
          const [red, green, blue, alpha] = data.slice(i, i + 4);
          if (alpha > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) coloured++;
        }
        return coloured > 5000; })()"""
    )
    plant = await browser.value("document.getElementById('callouts').textContent")
    assert all(name in plant for name in ("incinerator", "graphite-fumes", "heat-pump", "wood-1", "tank"))
    await browser.until("document.getElementById('sankey-caption').textContent.endsWith('closes')")
    names = await browser.value("document.getElementById('sankey').textContent")
    assert all(name in names for name in ("incinerator", "graphite-fumes", "customers", "losses"))
    # Whose heat it is, where it comes in and where it leaves.
    assert "graphite-fumes from graphite-works:" in names
    assert "heat-pump from chemical-site" in plant
    works = "[...document.querySelectorAll('#factories article')].map((each) => each.textContent)"
    assert any("graphite-fumes" in card for card in await browser.value(works))

    # Of 2,000 signals only the rows in sight exist, and they are found by their names.
    assert await browser.value("Number(document.getElementById('found').textContent)") > 2000
    assert await browser.value("document.querySelectorAll('#rows tr').length") < 50
    await browser.value(
        "(() => { const search = document.getElementById('search'); search.value = 'hospital-01 heat';"
        "search.dispatchEvent(new Event('input')); })()"
    )
    assert await browser.value("document.querySelectorAll('#rows tr:not(.spacer)').length") == 1

    # A station that is chosen is told, measured beside twin, and shown over time.
    await browser.value(
        "(() => { const find = document.getElementById('find'); find.value = 'school-06';"
        "find.dispatchEvent(new Event('change')); })()"
    )
    await browser.until("document.body.dataset.subject === 'node/school-06/temperature/twin'")
    told = await browser.value("document.getElementById('details').innerText")
    assert "school-06" in told
    assert "supply temperature" in told
    assert "±" in told
    await browser.until("document.querySelector('#trend canvas')?.width > 100")

    # On a telephone the labels of the plant stay within the map.
    await browser.ask("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    await browser.until(
        """(() => { const box = (each) => each.getBoundingClientRect();
        const map = box(document.getElementById('map'));
        const labels = [...document.querySelectorAll('.callout:not([hidden])')].map(box);
        const isWithin = ({ left, right }) => left >= map.left && right <= map.right;
        return innerWidth === 390 && labels.length > 0 && labels.every(isWithin); })()"""
    )
    await browser.ask("Emulation.clearDeviceMetricsOverride")

    ours = (console.page, console.page.replace("http", "ws"), "data:")
    elsewhere = [url for url in browser.requests if not url.startswith(ours)]
    assert not elsewhere
    assert len(browser.requests) > 20
    assert not browser.complaints


async def test_machines_of_a_factory_are_followed_and_one_that_is_stopped_is_an_alarm(browser, console):
    await browser.ask("Page.navigate", url=console.page)
    await browser.until("!!document.querySelector('nav button[data-asset=dairy]')")
    await browser.value("document.querySelector('nav button[data-asset=dairy]').click()")
    await browser.until("document.body.dataset.asset === 'dairy'")
    assert await browser.value("document.getElementById('map-panel').hidden")
    energy = "document.querySelector('#key b[data-key=energy]')?.textContent"
    first = await browser.until(energy)
    later = await browser.until(f"(() => {{ const now = {energy}; return now !== {json.dumps(first)} && now; }})()")
    assert float(later.split()[0]) > float(first.split()[0])
    # What is chosen is shown over time.
    await browser.value("document.querySelector('.machines button[title^=reception]').click()")
    await browser.until("document.body.dataset.subject === 'machine/reception/power'")

    inject = [*UEM, "inject", "vallee", "stop", "dairy/reception", "--state", str(console.state)]
    assert (await asyncio.to_thread(subprocess.run, inject, capture_output=True, timeout=60)).returncode == 0
    await browser.until("document.querySelector('.machines button[title^=reception]')?.className === 'down'")
    await browser.until("document.getElementById('alarms').textContent.includes('dairy: reception')")
    assert "◆" in await browser.value("document.getElementById('alarm-count').textContent")
    assert not browser.complaints


def in_a_terminal(*words):
    """What a command draws in a terminal of 100 x 40."""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen([*UEM, *words], stdin=follower, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        written = b""
        with contextlib.suppress(OSError):  # the terminal is closed
            while piece := os.read(leader, 65_536):
                written += piece
    os.close(leader)
    assert process.returncode == 0, written
    return written.decode()


async def test_a_unit_that_trips_is_an_alarm_in_the_terminal_and_on_the_page_until_it_is_ready(browser, console):
    async def asked(*words):
        done = await asyncio.to_thread(subprocess.run, [*UEM, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def state():
        told = json.loads(await asked("alarms", "energy-plant", "--json", "--server", console.server))
        return {alarm["source"]: (alarm["state"], alarm["priority"]) for alarm in told["alarms"]}

    async def until(*expected):
        async with asyncio.timeout(120):
            while (await state()).get("wood-2") != expected:
                pass

    await browser.ask("Page.navigate", url=console.page)
    await browser.until("document.getElementById('link')?.textContent === 'live'")
    shown = "document.getElementById('alarms').textContent"
    said = "energy-plant wood-2: unit has tripped"
    # A wood boiler that stands anyway: neither its heat nor the twin of the network tells that it has tripped.
    await asked("inject", "vallee", "trip", "wood-2", "--state", str(console.state))
    await until("unacknowledged", "high")
    await browser.until(f"{shown}.includes({json.dumps(said)})")
    assert "▲" in await browser.value("document.getElementById('alarm-count').textContent")
    view = await asyncio.to_thread(in_a_terminal, "watch", "--for", "10s", "--server", console.server)
    assert "high   energy-plant: unit has tripped (wood-2)" in view
    await asked("inject", "vallee", "clear", "--state", str(console.state))
    await until("normal", "high")
    await browser.until(f"!{shown}.includes({json.dumps(said)})")
    # A plant that says nothing any more raises no alarm: that it is silent stands beside.
    await asked("inject", "vallee", "silence", "machining-shop", "--state", str(console.state))
    health = "[...document.querySelectorAll('#health li.bad')].map((each) => each.textContent).join()"
    await browser.until(f"/machining-shop [^,]*silent for/.test({health})")
    await asked("inject", "vallee", "clear", "--state", str(console.state))
    await browser.until(f"!{health}.includes('machining-shop')")
    assert not browser.complaints


async def test_the_page_says_when_the_console_is_gone_and_goes_on_when_it_is_back(browser, another):
    first, address = another()
    await browser.ask("Page.navigate", url=address)
    await browser.until("document.getElementById('link')?.textContent === 'live'")
    first.kill()
    await browser.until("document.getElementById('link').className.includes('lost')")
    clock = await browser.until("document.getElementById('clock').textContent")
    second, _ = another(address.rstrip("/").rpartition(":")[2])
    await browser.until("document.getElementById('link').textContent === 'live'")
    await browser.until(f"document.getElementById('clock').textContent > {json.dumps(clock)}")
    second.terminate()  # while a browser looks on
    assert second.wait(60) == 0


def test_what_the_tour_says_to_type_works_in_the_valley(console, tmp_path):
    page = (ROOT / "docs" / "guide" / "tour.md").read_text("utf-8")
    typed = re.findall(r"^\$ uem (.+)$", page, re.MULTILINE)
    assert len(typed) > 15
    environment = os.environ | {"UEM_SERVER": console.server}
    for command in typed:
        words = shlex.split(command)
        words += ["--state", str(console.state)] if words[0] == "inject" else []
        done = subprocess.run([*UEM, *words], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
        assert done.returncode == 0, f"uem {command}: {done.stderr}"
        assert done.stdout or done.stderr, command
