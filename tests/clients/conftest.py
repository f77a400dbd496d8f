"""A fake server for the tests of clients: `fake` lives in the test's loop, `remote` in a thread of its own."""

import asyncio
import importlib.util
import threading
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fake_server", Path(__file__).parent / "fake_server.py")
fake_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_server)


@pytest.fixture
async def fake():
    """(servicer, address) of a server in the loop of the test."""
    servicer = fake_server.FakeServer()
    async with fake_server.serving(servicer) as address:
        yield servicer, address


@pytest.fixture
def remote():
    """(servicer, address) of a server in another thread, for code that runs its own loop."""
    servicer = fake_server.FakeServer()
    ready, address = threading.Event(), []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve():
        async with fake_server.serving(servicer) as bound:
            address.append(bound)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    yield servicer, address[0]
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def kit():
    """The module of the fake server: its times, states and `serving`."""
    return fake_server
