"""A real Chromium without a screen, asked by its DevTools protocol; for tests and for pictures of the documentation."""

import asyncio
import base64
import json
import subprocess
import urllib.request
from contextlib import asynccontextmanager, contextmanager

import websockets

SIZE = 1500, 1180
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
ARGUMENTS += ["--disable-extensions", "--disable-background-networking", "--lang=en", "--remote-debugging-port=0"]


class Browser:
    """Chromium, asked by its DevTools protocol; everything that it loads or complains of is kept."""

    def __init__(self, socket):
        self.requests, self.complaints = [], []
        self._socket = socket
        self._last = 0

    async def ask(self, method, **parameters):
        self._last += 1
        number = self._last
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(60):
            while True:
                message = json.loads(await self._socket.recv())
                if message.get("id") == number:
                    assert "error" not in message, message
                    return message["result"]
                self._note(message.get("method"), message.get("params"))

    async def value(self, expression):
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression, timeout_s=60.0):
        """The value of an expression once it is true."""
        async with asyncio.timeout(timeout_s):
            while not (found := await self.value(expression)):  # noqa: ASYNC110 - the page has no event for us
                await asyncio.sleep(0.1)
            return found

    async def picture(self):
        return base64.b64decode((await self.ask("Page.captureScreenshot", format="png"))["data"])

    def _note(self, method, parameters):
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(parameters["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(parameters)
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"])


@contextmanager
def chromium(command, folder, size=SIZE):
    """Address of a tab of a Chromium that is started for it."""
    arguments = [*ARGUMENTS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen([command, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        said = next((line for line in process.stderr if "DevTools listening on" in line), None)
        assert said, "chromium did not start"
        port = said.split("127.0.0.1:")[1].split("/")[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        tabs = json.load(opener.open(f"http://127.0.0.1:{port}/json", timeout=60))
        yield next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    finally:
        process.kill()
        process.communicate(timeout=60)


@asynccontextmanager
async def tab(address):
    """The tab, with everything noted that happens in it."""
    async with websockets.connect(address, max_size=None, proxy=None, ping_interval=None) as socket:
        made = Browser(socket)
        for part in ("Page", "Runtime", "Log", "Network"):
            await made.ask(f"{part}.enable")
        yield made
