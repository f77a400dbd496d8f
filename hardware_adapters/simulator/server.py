"""One plant behind a real OPC UA server: nodes from the tag table, values from a recording or from a simulation."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Collection, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.server.conditions import Conditions
from uem.hardware_adapters.opcua.server.server import AddressSpace, PointServer
from uem.hardware_adapters.simulator.alarms import Watched
from uem.hardware_adapters.simulator.living import Thing, Told
from uem.hardware_adapters.simulator.recording import RecordedColumns, schedule
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.territory import Plant, TagBinding

_log = logging.getLogger(__name__)

HISTORY_ROWS = 200_000  # that a client who was away can have later


class PlantServer:
    """An OPC UA server with the tags of one plant. Clients are offered every row, at whatever speed it plays."""

    def __init__(
        self,
        plant: Plant,
        bindings: Sequence[TagBinding],
        certificates: CertificateStore,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        start_ns: int | None = None,
        watched: Sequence[Watched] = (),
    ) -> None:
        """Nothing is opened yet. `bindings` are the tags of this plant; `port` 0 takes a free one.

        `start_ns` is the source time of nodes without a value: by default the epoch of the recording. A plant with
        alarms raises one of each thing `watched` that fails.

        InvalidInput when the plant wants security policy None and `host` or `certificates` do not allow it.
        """
        self.plant = plant
        self.bindings = tuple(bindings)
        self.rows_written = 0
        self.lag_s = 0.0
        self._address = (host, port)
        self._watched = tuple(watched)
        start_ns = plant.recording.epoch_ns if plant.recording else start_ns
        self._conditions = None
        if plant.alarms:
            conditions = [each.condition for each in self._watched]
            self._conditions = Conditions(conditions, f"urn:uem:plant:{plant.name}", start_ns or time.time_ns())
        self._server = PointServer(
            f"plant {plant.name}",
            self._make_nodes,
            certificates,
            host=host,
            port=port,
            path=f"/uem/{plant.name}",
            policies=[plant.security_policy],
            samples=False,
            history_rows=HISTORY_ROWS,
            start_ns=start_ns,
            conditions=self._conditions,
        )
        self._scale = np.array([binding.scale for binding in self.bindings])
        self._offset = np.array([binding.offset for binding in self.bindings])
        self._point = {binding.tag.name: k for k, binding in enumerate(self.bindings)}

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._server.endpoint

    async def __aenter__(self) -> Self:
        """Open the port; AdapterError when it is taken."""
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.__aexit__(*exc)

    async def play(self, recording: RecordedColumns) -> None:
        """Write every row when it is due at the plant's speed, late ones at once and in order, until the end if any.

        `recording` has the columns of `bindings` in their order.
        """
        source = self.plant.recording
        if source is None:
            raise InvalidInput(f"plant {self.plant.name} has no recording to play")
        clock = asyncio.get_running_loop().time
        start, first_ns = clock(), int(recording.time_ns[0])
        for plant_ns, row in schedule(recording, loop=source.loop):
            due = start + (plant_ns - first_ns) / NS_PER_S / source.speed
            await asyncio.sleep(max(0.0, due - clock()))  # 0 when late: the server gets its turn between rows
            await self.write(source.epoch_ns + plant_ns, recording.value[row], recording.quality[row])
            self.lag_s = max(0.0, clock() - due)
        _log.info("plant %s: the recording has ended", self.plant.name)

    async def write(
        self,
        source_time_ns: int,
        raw: Sequence[float] | NDArray[np.float64],
        quality: Sequence[int] | NDArray[np.uint32],
    ) -> None:
        """Write one row, a raw value and a StatusCode per binding, all with the same source time."""
        self._server.write(raw, quality, source_time_ns)
        self.rows_written += 1

    async def tell(self, told: Told, silent: Collection[str] = ()) -> None:
        """Write what instruments of this plant show; other tags, `silent` or not, keep what they have."""
        rows = [(self._point[tag], *its) for tag, *its in told if tag in self._point]
        if not rows:
            return
        point, times, values, quality = (np.array(column) for column in zip(*rows, strict=True))
        raw = (values - self._offset[point]) / self._scale[point]
        self._server.write(raw, quality.astype(np.uint32), times.astype(np.int64), point)
        self.rows_written += 1

    async def warn(self, failed: Collection[Thing], time_ns: int, silent: Collection[str] = ()) -> None:
        """Raise the alarms of what has failed by `time_ns`, and end those of what has not, unless all is `silent`."""
        if self._conditions is not None and not self._point.keys() <= set(silent):
            await self._conditions.tell([each.thing in failed for each in self._watched], time_ns)

    async def _make_nodes(self, space: AddressSpace) -> None:
        """A Double per binding below Objects, with an object per step of its browse path."""
        for binding in self.bindings:
            namespace = await space.namespace(binding.namespace_uri)
            *path, name = binding.browse_path.split("/")
            parent = space.objects
            for step in path:
                parent = await space.object(parent, step, namespace)
            await space.point(parent, name, namespace, identifier=binding.browse_path)


def columns_of(bindings: Sequence[TagBinding], plant: str) -> list[str]:
    """The column of the recording of each binding; InvalidInput when one has none."""
    without = [binding.tag.name for binding in bindings if not binding.column]
    if without:
        raise InvalidInput(
            f"plant {plant}: tags {', '.join(without)} have no column in the tag table; simulated plants need one each"
        )
    return [binding.column for binding in bindings]


def with_speed(plant: Plant, factor: float) -> Plant:
    """The plant with its recording `factor` times as fast."""
    if plant.recording is None:
        return plant
    recording = dataclasses.replace(plant.recording, speed=plant.recording.speed * factor)
    return dataclasses.replace(plant, recording=recording)
