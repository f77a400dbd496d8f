"""A running console over a fake server; the page is asked for as a browser does, by bare HTTP and WebSocket."""

import importlib.util
import json
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from uem.clients.console.main import serving

_spec = importlib.util.spec_from_file_location("fake_server", Path(__file__).parents[1] / "fake_server.py")
fake_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_server)


class Page:
    """What a browser may ask of a console."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **headers):
        """(status, headers, body)."""
        request = urllib.request.Request(self.address.rstrip("/") + path, headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def json(self, path):
        status, _, body = self.get(path)
        return status, json.loads(body)

    def live(self, **options):
        return websockets.connect(self.address.replace("http", "ws") + "live", proxy=None, **options)


@pytest.fixture
def kit():
    return fake_server


@pytest.fixture
async def console():
    """A console over a server: `async with console(server) as page`."""

    @asynccontextmanager
    async def made(server):
        async with serving(server, "127.0.0.1", 0) as (address, _):
            yield Page(address)

    return made
