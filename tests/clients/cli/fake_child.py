"""A process as `uem up` starts them: python fake_child.py FOLDER NAME ARGUMENTS...

FOLDER/NAME.json says what it does: {"error": text} ends before it is ready, {"silent": true} never gets ready,
{"dies_after_s": 1} ends later, {"deaf": true} ignores SIGTERM,
{"logs": text} logs it, {"unwell": true} tells so as a server. It notes its arguments and its end in FOLDER/notes.
"""

import asyncio
import importlib.util
import json
import signal
import sys
from pathlib import Path

FOLDER, NAME, ARGUMENTS = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]


def note(text):
    with (FOLDER / "notes").open("a") as file:
        file.write(f"{NAME} {text}\n")


def kit():
    spec = importlib.util.spec_from_file_location("fake_server", Path(__file__).parent.parent / "fake_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def main():
    plan = FOLDER / f"{NAME}.json"
    does = json.loads(plan.read_text()) if plan.exists() else {}
    note("started " + " ".join(ARGUMENTS))
    print("some library says hello", flush=True)
    if "error" in does:
        print(f"a line of log\nuem {NAME}: error: {does['error']}", file=sys.stderr)
        return 1
    stop = asyncio.Event()
    if not does.get("deaf"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if does.get("silent"):
        await stop.wait()
        return 0
    if NAME == "serve":
        fake_server = kit()
        servicer = fake_server.FakeServer()
        servicer.well = "unwell" not in does
        async with fake_server.serving(servicer) as address:
            await announce_and_wait(stop, does, {"address": address, "metrics": "127.0.0.1:1"})
    elif NAME == "simulator":
        await announce_and_wait(stop, does, {"endpoints": {"branch": "opc.tcp://127.0.0.1:4/branch"}})
    elif NAME == "opcua":
        await announce_and_wait(stop, does, {"endpoint": "opc.tcp://127.0.0.1:5/twins"})
    elif NAME == "console":
        await announce_and_wait(stop, does, {"address": "http://127.0.0.1:6/"})
    else:
        await announce_and_wait(stop, does, {})
    note("ended")
    return does.get("code", 0)


async def announce_and_wait(stop, does, facts):
    print(json.dumps({"ready": True, "process": NAME, **facts}), flush=True)
    print("and this is logged", flush=True)
    if "logs" in does:
        print(does["logs"], file=sys.stderr, flush=True)
    if "dies_after_s" in does:
        await asyncio.sleep(does["dies_after_s"])
        print("the disk is on fire", file=sys.stderr)
        sys.exit(3)
    await stop.wait()


raise SystemExit(asyncio.run(main()))
