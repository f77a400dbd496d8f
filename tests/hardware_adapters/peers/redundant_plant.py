"""A process with one server of a redundant set: every server counts the same hundredths of a second.

Arguments: the folder of certificates, the port. It prints its endpoint, then takes service levels, a line each.
"""

import asyncio
import sys
import time

from asyncua import ua

from uem.hardware_adapters.opcua.certificates import CertificateStore
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


async def main(pki, port):
    plant = Plant(name="hall", publish_interval_ms=50.0)
    async with PlantServer(plant, (COUNTER,), CertificateStore(pki, "simulator"), port=int(port)) as server:
        counting = asyncio.create_task(count(server))
        print(server.endpoint, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            level = server._server._server.get_node(ua.ObjectIds.Server_ServiceLevel)
            await level.write_value(ua.DataValue(ua.Variant(int(line), ua.VariantType.Byte)))
        counting.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
