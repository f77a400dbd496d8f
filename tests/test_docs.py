"""What the documentation says to type works: every command of a console or sh block, every Python block."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from uem.clients.cli.main import COMMANDS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOUR = (
    ROOT / "docs" / "guide" / "tour.md"
)  # of a valley that lives: tests/end_to_end/test_console.py types what it says
UEM = [sys.executable, "-m", "uem.clients.cli"]
ADDRESS = "127.0.0.1:7650"
PROMETHEUS = ("promtool ", "prometheus ")

# Commands that run until they are stopped: what is added to end them, or None to check only that they parse.
ENDLESS = {
    "uem watch": ["--count", "1"],
    "uem console --server 127.0.0.1:7650 --port 0": ["--for", "1s"],
    "uem up examples/pongau --no-plant --state site-state": None,
    "uem serve history pongau --state site-state": None,
    "uem serve twin pongau --history 127.0.0.1:7650": None,
    "uem serve prediction pongau --history 127.0.0.1:7650 --state site-state": None,
    "uem status --server 127.0.0.1:7650,twin=127.0.0.1:7660,prediction=127.0.0.1:7670": None,
}


def blocks(*languages):
    return [
        (page, text)
        for page in PAGES
        for language, text in BLOCK.findall(page.read_text("utf-8"))
        if language in languages
    ]


def commands():
    lines = [line for page, text in blocks("console", "sh") if page != TOUR for line in text.splitlines()]
    typed = [line.removeprefix("$ ").partition("#")[0].strip() for line in lines]
    return sorted({line for line in typed if line})


def python_blocks():
    return [pytest.param(text, id=f"{page.name}-{i}") for i, (page, text) in enumerate(blocks("python"))]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """What a running `uem up` has written once it has states to show."""
    folder = tmp_path_factory.mktemp("up")
    out = folder / "out"
    command = [
        *UEM,
        "up",
        "pongau",
        "--port",
        "0",
        "--metrics-port",
        "0",
        "--speed",
        "4",
        "--state",
        str(folder / "state"),
    ]
    with out.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 300
        while not re.search(r"node/2/temperature: measured", out.read_text()) or "washer (" not in out.read_text():
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < deadline, out.read_text()
            time.sleep(0.2)
        yield out.read_text()
        process.terminate()
        assert process.wait(60) == 0, out.read_text()


@pytest.fixture(scope="module")
def server(started):
    """Its address."""
    return re.search(r"^gRPC +(\S+)$", started, re.MULTILINE)[1]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder to work in that has the shipped examples."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("examples", "monitoring"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(arguments, work, server):
    environment = os.environ | {"UEM_SERVER": server, "PYTHONPATH": ""}
    typed = "a password for --add-user\n"
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=500, cwd=work, env=environment, input=typed
    )


def until_ready(arguments, work):
    """What a Prometheus says until it is ready, or ends; then it is stopped."""
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=work) as process:
        said = ""
        for line in process.stdout:
            said += line
            if "Server is ready" in line:
                break
        else:
            raise AssertionError(said)
        process.terminate()
        process.communicate(timeout=60)
    return said


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("uem validate")])
def test_a_documented_validation_works(command, work):
    """What it judges is met; it needs no server."""
    done = run([*UEM, *shlex.split(command)[1:]], work, ADDRESS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bars met" in done.stdout


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("uem ") and "validate" not in c])
def test_a_documented_uem_command_works(command, server, work):
    arguments = shlex.split(command)[1:]
    ending = ENDLESS.get(command, [])
    done = run([*UEM, *arguments, *(["--help"] if ending is None else ending)], work, server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or done.stderr


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith(PROMETHEUS)])
def test_a_documented_command_of_prometheus_works(command, work):
    program, *arguments = shlex.split(command)
    if shutil.which(program) is None:
        assert os.environ.get("CI") != "true", f"{program} is missing; on Debian: apt-get install prometheus"
        pytest.skip(f"{program} is not installed; on Debian: apt-get install prometheus")
    if program == "prometheus":  # runs until it is stopped
        said = until_ready([program, *arguments, "--web.listen-address=127.0.0.1:0"], work)
        assert "Completed loading of configuration file" in said
        return
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_a_documented_make_target_exists(command):
    done = subprocess.run([*shlex.split(command), "-n"], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_every_documented_command_is_of_a_kind_that_is_checked():
    assert [c for c in commands() if not c.startswith(("uem ", "make ", *PROMETHEUS))] == []
    assert len([c for c in commands() if c.startswith("uem ")]) > 10
    assert set(ENDLESS) <= set(commands())


@pytest.mark.parametrize("text", python_blocks())
def test_a_documented_python_block_runs(text, server, work):
    done = run([sys.executable, "-W", "error", "-c", text.replace(ADDRESS, server)], work, server)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_first_twin_takes_ten_lines():
    text = (ROOT / "README.md").read_text("utf-8").partition("A first twin in ten lines")[2]
    assert len([line for line in BLOCK.search(text)[2].splitlines() if line]) <= 10


def test_the_command_line_page_names_every_command():
    page = (ROOT / "docs" / "guide" / "command-line.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"`uem {name}" not in page] == []


def test_accuracy_tables_say_what_is_measured():
    done = subprocess.run(
        [sys.executable, "docs/tables.py", "--check"], capture_output=True, text=True, timeout=500, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("process", ["simulator", "serve", "gateway"])
def test_every_metric_is_documented(process, started):
    (url,) = re.findall(rf"(http://\S+) \({process}\)", started)
    with urllib.request.urlopen(url, timeout=60) as answer:
        exported = re.findall(r"^# TYPE (uem_\S+)", answer.read().decode(), re.MULTILINE)
    page = (ROOT / "docs" / "guide" / "metrics.md").read_text("utf-8")
    assert exported
    assert [name for name in exported if f"`{name}`" not in page] == []


def test_every_alert_is_documented():
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "monitoring" / "alerts.yml").read_text("utf-8"))
    page = (ROOT / "docs" / "guide" / "metrics.md").read_text("utf-8")
    assert alerts
    assert [name for name in alerts if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []
