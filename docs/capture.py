"""Makes the pictures of a running uem: docs/pictures/live.svg, the live view in a terminal; console.png, the page.

Each starts `uem up`, follows it for a while and draws what is seen then.
"""

import argparse
import asyncio
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from uem.clients.cli.live import LiveView
from uem.clients.python import DEFAULT_ADDRESS, Client

HERE = Path(__file__).resolve().parent
PICTURES = HERE / "pictures"
PAGE = "http://127.0.0.1:7654/"
PAGE_SIZE = 1500, 1500
COLUMNS, LINES = 100, 34

_spec = importlib.util.spec_from_file_location("chromium", HERE.parent / "tests" / "end_to_end" / "chromium.py")
assert _spec is not None
assert _spec.loader is not None
chromium = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chromium)


@contextmanager
def running(*arguments: str) -> Iterator[None]:
    """`uem up` with these arguments, while it is followed."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "uem.clients.cli", "up", *arguments, "--state", state]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
            assert up.stdout is not None
            next((line for line in up.stdout if line.startswith("try in")), "")
            drain = subprocess.Popen(["cat"], stdin=up.stdout, stdout=subprocess.DEVNULL)
            try:
                yield
            finally:
                up.terminate()
                up.wait()
                drain.wait()


# ---- the live view ----


async def follow(view: LiveView, seconds: float) -> None:
    """Collect states and forecasts for some time."""
    async with Client() as client:
        work = asyncio.gather(view.follow(client, ()), view.follow_forecasts(client))
        with suppress(TimeoutError):
            await asyncio.wait_for(work, seconds)


def draw_live(seconds: float, speed: float) -> Path:
    """The live view of the valley."""
    view = LiveView(f"uem up vallee  gRPC {DEFAULT_ADDRESS}  Ctrl-C drains and ends")
    with running("vallee", "--speed", str(speed)):
        asyncio.run(follow(view, seconds))
    console = Console(width=COLUMNS, height=LINES, record=True, force_terminal=True, file=io.StringIO())
    console.print(view.screen(COLUMNS, LINES))
    drawn = console.export_svg(title="uem up")
    picture = PICTURES / "live.svg"
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), "utf-8")  # no font from the web
    return picture


# ---- the page ----


CHOOSE = """(() => { const find = document.getElementById("find"); find.value = "hospital-01";
find.dispatchEvent(new Event("change")); })()"""


async def photograph(address: str, seconds: float) -> bytes:
    """The page over the valley with a station chosen, after it was looked at for some time."""
    async with chromium.tab(address) as browser:
        await browser.ask("Page.navigate", url=PAGE)
        await browser.until("document.body?.dataset.subject === 'demand'")
        await browser.until(f"performance.now() > {1e3 * seconds}", timeout_s=2 * seconds + 60)
        await browser.value(CHOOSE)
        await asyncio.sleep(3.0)
        assert not browser.complaints, browser.complaints
        picture: bytes = await browser.picture()
        return picture


def draw_page(seconds: float, speed: float) -> Path:
    """The page over the valley, in a Chromium."""
    picture = PICTURES / "console.png"
    with (
        tempfile.TemporaryDirectory() as profile,
        running("vallee", "--speed", str(speed)),
        chromium.chromium("chromium", profile, PAGE_SIZE) as address,
    ):
        picture.write_bytes(asyncio.run(photograph(address, seconds)))
    return picture


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("live", "page", "both"), default="both", help="default: both")
    parser.add_argument("--for", dest="seconds", type=float, default=60.0, help="how long to follow (default: 60)")
    parser.add_argument("--speed", type=float, default=10.0, help="of the valley (default: 10)")
    options = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    if options.what != "page":
        print(draw_live(options.seconds, options.speed))
    if options.what != "live":
        print(draw_page(options.seconds, options.speed))


if __name__ == "__main__":
    main()
