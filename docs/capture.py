"""Makes docs/pictures/live.svg: starts `uem up`, follows it for a while and draws the live view as it is then."""

import argparse
import asyncio
import io
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from uem.clients.cli.live import LiveView
from uem.clients.python import DEFAULT_ADDRESS, Client

PICTURE = Path(__file__).resolve().parent / "pictures" / "live.svg"
WIDTH = 86


async def follow(view: LiveView, seconds: float) -> None:
    """Collect states and forecasts for some time."""
    async with Client() as client:
        work = asyncio.gather(view.follow(client, ()), view.follow_forecasts(client))
        with suppress(TimeoutError):
            await asyncio.wait_for(work, seconds)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="seconds", type=float, default=60.0, help="how long to follow (default: 60)")
    options = parser.parse_args()
    view = LiveView(f"uem up pongau  gRPC {DEFAULT_ADDRESS}  Ctrl-C drains and ends")
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "uem.clients.cli", "up", "--state", state]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
            assert up.stdout is not None
            next((line for line in up.stdout if line.startswith("try in")), "")
            asyncio.run(follow(view, options.seconds))
            up.terminate()
            up.communicate()
    console = Console(width=WIDTH, record=True, force_terminal=True, file=io.StringIO())
    console.print(view.screen(WIDTH))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    drawn = console.export_svg(title="uem up")
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), "utf-8")  # no font from the web
    print(PICTURE)


if __name__ == "__main__":
    main()
