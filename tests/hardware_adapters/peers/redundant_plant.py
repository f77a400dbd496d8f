"""Starts servers of a redundant set, each a process of its own: every server counts the same hundredths of a second.

Argument: a socket to listen at. Who connects sends two lines, the folder of certificates and the port, gets the number
of the process and its endpoint, and may send service levels, a line each. Servers are forks of one process that has
the standard nodes already: to import all and to make them would take several seconds for each.
"""

import asyncio
import os
import select
import signal
import socket
import sys
import time

from asyncua import ua

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.server.standard import OwnInternalServer
from uem.hardware_adapters.simulator.server import PlantServer
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.territory import Plant, TagBinding

STEP_NS = 10_000_000
COUNTER = TagBinding(
    tag=Tag(name="hall/counter", unit="1"),
    plant="hall",
    browse_path="Hall/Counter",
    namespace_uri="urn:uem:test:hall",
    display_unit="1",
    sampling_ms=5.0,
    column="counter",
)


async def count(server):
    """The count is that of the steps since 1970, so that it says what its source time has to be."""
    step = time.time_ns() // STEP_NS + 1  # none from before the start
    while True:
        while step <= time.time_ns() // STEP_NS:
            await server.write(step * STEP_NS, [float(step % 1_000_000)], [0])
            step += 1
        await asyncio.sleep(0.005)


async def serve(pki, port, line):
    plant = Plant(name="hall", publish_interval_ms=50.0)
    reader, writer = await asyncio.open_unix_connection(sock=line)
    async with PlantServer(plant, (COUNTER,), CertificateStore(pki, "simulator"), port=int(port)) as server:
        counting = asyncio.create_task(count(server))
        writer.write(f"{os.getpid()} {server.endpoint}\n".encode())
        while level_line := await reader.readline():
            level = server._server._server.get_node(ua.ObjectIds.Server_ServiceLevel)
            await level.write_value(ua.DataValue(ua.Variant(int(level_line), ua.VariantType.Byte)))
        counting.cancel()


def main(address):
    asyncio.run(OwnInternalServer().load_standard_address_space())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:  # ends with who started it
            line, _ = listener.accept()
            with line:
                if os.fork():
                    continue
                listener.close()
                pki, port = line.recv(4096).decode().split("\n")[:2]
                asyncio.run(serve(pki, port, line.dup()))
                os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
