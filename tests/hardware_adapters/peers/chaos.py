"""A TCP line that breaks in every way a network does."""

import asyncio
import random
from typing import Self


class ChaosLine:
    """Passes bytes on between a client and the server at `endpoint`, until told otherwise.

    `abort` resets all connections. While `refusing` there is no listener. While `swallowing` bytes vanish in the given
    directions; a connection that lost some is afterwards reset, half open for ever, or goes on with what comes.
    """

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("opc.tcp://").partition("/")[0].partition(":")
        self._there = host, int(port)
        self._path = endpoint.rpartition("/")[2]
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._swallowed: set[str] = set()
        self._connections: dict[asyncio.Task, dict] = {}

    @property
    def endpoint(self) -> str:
        return f"opc.tcp://127.0.0.1:{self._port}/{self._path}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()
        self.abort()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0.1)  # the loop closes what was aborted

    async def listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = None

    def abort(self) -> None:
        for connection in self._connections.values():
            for writer in connection["writers"]:
                writer.transport.abort()

    def swallow(self, directions: str) -> None:
        self._swallowed = set(directions)

    def pass_again(self, then: str) -> None:
        """`then`: what becomes of connections that lost bytes: "reset", "half open", "go on"."""
        self._swallowed = set()
        for connection in self._connections.values():
            if connection["lossy"] and then == "reset":
                for writer in connection["writers"]:
                    writer.transport.abort()
            connection["dead"] = connection["dead"] or (connection["lossy"] and then == "half open")

    async def outage(self, chance: random.Random, longest_s: float) -> str:
        """One of any kind, until the network has returned; what it was."""
        kind = chance.choice(["abort", "refuse", "swallow", "swallow", "swallow"])
        length_s = longest_s * chance.random() ** 2
        if kind == "abort":
            self.abort()
            return kind
        if kind == "refuse":
            await self.refuse()
            self.abort()
            await asyncio.sleep(length_s)
            await self.listen()
            return f"{kind} {length_s:.2f} s"
        directions, then = chance.choice(["><", ">", "<"]), chance.choice(["reset", "half open", "go on"])
        self.swallow(directions)
        await asyncio.sleep(length_s)
        self.pass_again(then)
        return f"{kind} {directions} {length_s:.2f} s, then {then}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        connection = {"writers": [writer], "lossy": False, "dead": False}
        self._connections[task] = connection
        try:
            there, back = await asyncio.open_connection(*self._there)
            connection["writers"].append(back)
            await asyncio.gather(self._pump(reader, back, ">", connection), self._pump(there, writer, "<", connection))
        except OSError:
            pass
        finally:
            for each in connection["writers"]:
                each.transport.abort()
            del self._connections[task]

    async def _pump(self, reader, writer, direction: str, connection: dict) -> None:
        try:
            while data := await reader.read(65536):
                if direction in self._swallowed:
                    connection["lossy"] = True
                elif not connection["dead"]:
                    writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort() if not connection["dead"] else None
