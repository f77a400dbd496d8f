"""Starts the OPC UA server of an independent stack, `server.js`, as a process of its own."""

import asyncio
import json
import os
import re
import shutil
import subprocess
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
        for keys in ("node-pki", "node-user-pki"):  # node would make a key for each, for as long as all else takes
            keep = self.folder / keys / "own" / "private"
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(own.key_path, keep / "private_key.pem")
        self.endpoint = ""
        self._options = {"folder": str(self.folder), "uri": own.application_uri, **options}
        self._process: subprocess.Popen[bytes] | None = None  # of no event loop: it may outlive that of a test

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Until it says that it is ready; at the same port as the time before."""
        said = self.folder / "said"
        self._process = self._begun(said)
        try:
            async with asyncio.timeout(READY_S):
                while (ready := re.search(r"^READY (\S+)\n", said.read_text(), re.MULTILINE)) is None:
                    if self._process.poll() is not None:
                        raise RuntimeError(said.read_text())
                    await asyncio.sleep(0.02)
        except BaseException:
            self.end()
            raise
        self.endpoint = ready[1]
        self._options["port"] = int(self.endpoint.rpartition(":")[2].partition("/")[0])

    @property
    def is_running(self) -> bool:
        """It was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def _begun(self, said: Path) -> subprocess.Popen[bytes]:
        modules = Path(sys.prefix) / "node_modules"
        assert (modules / "node-opcua").is_dir(), "node-opcua is not installed: run the tests with `make test`"
        with said.open("wb") as output:
            return subprocess.Popen(
                ["node", "--max-semi-space-size=32", str(SCRIPT), json.dumps(self._options)],  # collects less garbage
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "NODE_PATH": str(modules)},
            )

    def tell(self, word: str) -> None:
        """`forget`: end all sessions with their subscriptions; `expire`: end the sessions only."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    async def kill(self) -> None:
        """At once, as a power cut does."""
        self.end()

    def end(self) -> None:
        """`kill`, where nothing can be awaited."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
