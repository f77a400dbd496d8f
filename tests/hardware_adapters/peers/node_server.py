"""Starts the OPC UA server of an independent stack, `server.js`, as a process of its own."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua.certificates import CertificateStore

SCRIPT = Path(__file__).with_name("server.js")
READY_S = 120.0
NAMESPACE = "urn:uem:test:peer"


class NodeServer:
    """A node-opcua server that lets the holder of one certificate in; it can be killed and started again."""

    def __init__(self, pki: Path, client: CertificateStore, **options: object) -> None:
        """`pki` is an empty folder; both sides trust each other from now on. `options` are those of `server.js`."""
        own = CertificateStore(pki, "peer")
        own.ensure()
        client.trust(own.certificate)
        self.folder = pki / "node"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "certificate.pem").write_bytes(own.certificate.public_bytes(Encoding.PEM))
        shutil.copy(own.key_path, self.folder / "key.pem")
        (self.folder / "trusted.der").write_bytes(client.certificate.public_bytes(Encoding.DER))
        self.endpoint = ""
        self._options = {"folder": str(self.folder), "uri": own.application_uri, **options}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Until it says that it is ready; at the same port as the time before."""
        modules = Path(sys.prefix) / "node_modules"
        assert (modules / "node-opcua").is_dir(), "node-opcua is not installed: run the tests with `make test`"
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(SCRIPT),
            json.dumps(self._options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(modules)},
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S):
            while line := (await self._process.stdout.readline()).decode():
                if line.startswith("READY"):
                    break
        if not line:
            assert self._process.stderr is not None
            raise RuntimeError((await self._process.stderr.read()).decode())
        self.endpoint = line.split()[1]
        self._options["port"] = int(self.endpoint.rpartition(":")[2].partition("/")[0])
        self._drains = [asyncio.create_task(_drain(s)) for s in (self._process.stdout, self._process.stderr)]

    def tell(self, word: str) -> None:
        """`forget`: end all sessions with their subscriptions; `expire`: end the sessions only."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def kill(self) -> None:
        """At once, as a power cut does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()
            await asyncio.gather(*self._drains)


async def _drain(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(65536):
        pass
