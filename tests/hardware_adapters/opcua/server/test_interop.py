"""Our server as the client of an independent stack reads it, encrypted: same values, status codes and both times."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.server import points as kernel
from uem.hardware_adapters.opcua.server.server import PointServer, ua
from uem.hardware_adapters.opcua.server.users import UserFile
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, BAD_WAITING_FOR_INITIAL_DATA

SCRIPT = Path(__file__).parents[2] / "peers" / "client.js"
EPOCH_NS = 1_767_225_600_000_000_000
KINDS = {"Double": kernel.DOUBLE, "Float": kernel.FLOAT, "Int32": kernel.INT32, "UInt32": kernel.UINT32}
TICKS = 12


async def describe(space):
    index = await space.namespace("urn:uem:test")
    for name, kind in KINDS.items():
        await space.point(space.objects, name, index, identifier=name, kind=ua.VariantType(kind))


def row(tick):
    """Values of all types, of changing quality."""
    values = [tick + 0.1, tick + 0.25, -tick, tick]
    qualities = [0, 0x40900000 if tick % 3 == 1 else 0, BAD_SENSOR_FAILURE if tick % 4 == 3 else 0, 0]
    return values, qualities, EPOCH_NS + tick * 1_000_001_000  # a microsecond more each, to see all digits


async def node_client(folder, store, server_store, **options):
    """The process, with the certificates that it needs."""
    modules = Path(sys.prefix) / "node_modules"
    assert (modules / "node-opcua").is_dir(), "node-opcua is not installed: run the tests with `make test`"
    (folder / "certificate.pem").write_bytes(store.certificate.public_bytes(Encoding.PEM))
    shutil.copy(store.key_path, folder / "key.pem")
    keep = folder / "node-client-pki" / "own" / "private"  # where node would make another, which takes seconds
    keep.mkdir(parents=True)
    shutil.copy(store.key_path, keep / "private_key.pem")
    (folder / "trusted.der").write_bytes(server_store.certificate.public_bytes(Encoding.DER))
    return await asyncio.create_subprocess_exec(
        "node",
        str(SCRIPT),
        json.dumps({"folder": str(folder), "uri": store.application_uri, **options}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
        env={**os.environ, "NODE_PATH": str(modules)},
    )


def nanoseconds(time):
    milliseconds, picoseconds = time
    return milliseconds * 1_000_000 + picoseconds // 1000


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_another_stack_reads_the_same_values_status_codes_and_times(tmp_path, policy):
    ours, theirs = CertificateStore(tmp_path, "server"), CertificateStore(tmp_path, "scada")
    ours.ensure()
    theirs.ensure()
    ours.trust(theirs.certificate)
    written = []
    async with PointServer(
        "test", describe, ours, policies=["Basic256Sha256", "Aes256Sha256RsaPss"], history_rows=1000, start_ns=EPOCH_NS
    ) as server:
        index = await server.space.namespace("urn:uem:test")
        nodes = [f"ns={index};s={name}" for name in KINDS]
        folder = tmp_path / "node"
        folder.mkdir()
        process = await node_client(
            folder,
            theirs,
            ours,
            endpoint=server.endpoint,
            policy=policy,
            nodes=nodes,
            rows=len(nodes) * (TICKS + 1),
            history=nodes[0],
        )
        try:
            async with asyncio.timeout(120):
                subscribed = await process.stdout.readline()
                assert subscribed == b"SUBSCRIBED\n", (await process.stderr.read()).decode()
                for tick in range(1, TICKS + 1):
                    values, qualities, time_ns = row(tick)
                    server.write(values, qualities, time_ns)
                    written.append((values, qualities, time_ns, server._points.read(0)[3] * 1000))
                document = json.loads(await process.stdout.readline())
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    for number, (node, kind) in enumerate(zip(nodes, KINDS.values(), strict=True)):
        first, *changes = [change for change in document["changes"] if change["node"] == node]
        assert (first["status"], first["value"]) == (BAD_WAITING_FOR_INITIAL_DATA, None)
        for change, its in zip(changes, written, strict=True):
            assert_same(change, its, number, kind)
        assert_same(document["read"][number], written[-1], number, kind)
    assert len(document["history"]) == TICKS
    for found, its in zip(document["history"], written, strict=True):
        assert_same(found, its, 0, kernel.DOUBLE)


@pytest.mark.parametrize(("password", "refusal"), [("correct horse", ""), ("wrong horse", "BadUserAccessDenied")])
async def test_another_stack_logs_in_as_a_user(tmp_path, password, refusal):
    ours, theirs = CertificateStore(tmp_path, "server"), CertificateStore(tmp_path, "scada")
    ours.ensure()
    theirs.ensure()
    ours.trust(theirs.certificate)
    users = UserFile(tmp_path / "users")
    users.add("operator", "correct horse")
    async with PointServer("test", describe, ours, history_rows=10, users=users) as server:
        node = f"ns={await server.space.namespace('urn:uem:test')};s=Double"
        options = {"endpoint": server.endpoint, "policy": "Basic256Sha256", "nodes": [node], "rows": 1, "history": node}
        (tmp_path / "node").mkdir()
        process = await node_client(tmp_path / "node", theirs, ours, user="operator", password=password, **options)
        try:
            async with asyncio.timeout(120):
                said, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert refusal in errors.decode()
    assert (b"SUBSCRIBED" in said) == (not refusal)
    assert (process.returncode != 0) == bool(refusal)


def assert_same(found, written, number, kind):
    values, qualities, source_ns, server_ns = written
    value = float(np.float32(values[number])) if kind == kernel.FLOAT else values[number]
    is_bad = qualities[number] >= 0x80000000
    assert found["value"] == (None if is_bad else value)
    assert found["type"] == (0 if is_bad else kind)
    assert found["status"] == qualities[number]
    assert (nanoseconds(found["source"]), nanoseconds(found["server"])) == (source_ns, server_ns)
