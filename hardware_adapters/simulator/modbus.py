"""A simulated plant behind a real Modbus TCP server: raw values by tag, in the registers that the tag table says."""

import math
import struct
from collections.abc import Collection, Sequence
from typing import Any, Self

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from uem.hardware_adapters.modbus.registers import BITS
from uem.hardware_adapters.simulator.living import Told
from uem.hardware_adapters.simulator.raw import raw_rows
from uem.twin_core.errors import AdapterError
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.territory import Plant, TagBinding

_FORMATS = {
    "uint16": ">H",
    "int16": ">h",
    "uint32": ">I",
    "int32": ">i",
    "uint64": ">Q",
    "int64": ">q",
    "float32": ">f",
    "float64": ">d",
}
_TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding", 15: "coil", 16: "holding"}
MOST_REQUESTS = 1000  # that are remembered


def words(value: float, data_type: str, byte_order: str) -> list[int]:
    """A value as registers in the order of the wire: plain struct, as the reference of the adapter's decoder."""
    number = value if data_type.startswith("float") else int(value)
    packed = struct.pack(_FORMATS[data_type], number)
    found = [packed[i : i + 2] for i in range(0, len(packed), 2)]
    if byte_order in ("CDAB", "DCBA"):
        found.reverse()
    if byte_order in ("BADC", "DCBA"):
        found = [word[::-1] for word in found]
    return [int.from_bytes(word, "big") for word in found]


class ModbusPlant:
    """Devices whose registers and bits are those of the tags; any other one is an illegal address."""

    def __init__(self, bindings: Sequence[TagBinding], *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Every value is 0 at first; port 0 takes a free one."""
        self.requests: list[tuple[int, str, int, int]] = []  # device, table, start, count of the last
        self.writes: list[tuple[int, str, int, int]] = []
        self.stuck = False  # takes what is written and keeps what it has
        self.failing: dict[tuple[int, str], ExcCodes] = {}  # exception by device and table
        self.silent: set[int] = set()  # devices that do not answer
        self._where = (host, port)
        self._addresses: dict[str, ModbusAddress] = {}
        self._values: dict[tuple[int, str, int], int] = {}
        self._unset: set[tuple[int, str, int]] = set()
        self._server: ModbusTcpServer | None = None
        for binding in bindings:
            assert isinstance(binding.address, ModbusAddress)
            self._addresses[binding.tag.name] = binding.address
            self.set(binding.tag.name, 0.0)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        assert self._server is not None
        listener: Any = self._server.transport
        host, port = listener.sockets[0].getsockname()
        return f"modbus.tcp://{host}:{port}"

    def set(self, tag: str, value: float) -> None:
        """Put a raw value into the registers of a tag."""
        its = self._addresses[tag]
        self._unset.discard((its.device, its.table, its.address))
        if its.table in BITS:
            self._values[its.device, its.table, its.address] = int(value)
        elif its.bit is not None:
            before = self._values.get((its.device, its.table, its.address), 0)
            self._values[its.device, its.table, its.address] = before & ~(1 << its.bit) | int(value) << its.bit
        else:
            for i, word in enumerate(words(value, its.data_type, its.byte_order)):
                self._values[its.device, its.table, its.address + i] = word

    def unset(self, tag: str) -> None:
        """A tag has no value now: a float is NaN, of any other one a read is answered that the device fails."""
        its = self._addresses[tag]
        if its.data_type.startswith("float") and its.table not in BITS:
            self.set(tag, math.nan)
        else:
            self._unset.add((its.device, its.table, its.address))

    async def async_getValues(
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """What a request gets."""
        table = _TABLES[func_code]
        self.requests.append((device_id, table, address, count))
        del self.requests[:-MOST_REQUESTS]
        if device_id in self.silent:
            raise NoSuchIdException  # the server then says nothing
        if (device_id, table) in self.failing:
            return self.failing[device_id, table]
        try:
            found = [self._values[device_id, table, address + i] for i in range(count)]
        except KeyError:
            return ExcCodes.ILLEGAL_ADDRESS
        if self._unset and any((device_id, table, address + i) in self._unset for i in range(count)):
            return ExcCodes.DEVICE_FAILURE
        return [bool(value) for value in found] if table in BITS else found

    async def async_setValues(
        self, device_id: int, func_code: int, address: int, values: Sequence[int] | Sequence[bool]
    ) -> ExcCodes | None:
        """What a write does: the values are there at once, unless they are `stuck`."""
        table = _TABLES[func_code]
        self.writes.append((device_id, table, address, len(values)))
        if device_id in self.silent:
            raise NoSuchIdException
        if (device_id, table) in self.failing:
            return self.failing[device_id, table]
        if any((device_id, table, address + i) not in self._values for i in range(len(values))):
            return ExcCodes.ILLEGAL_ADDRESS
        if not self.stuck:
            self._values |= {(device_id, table, address + i): int(value) for i, value in enumerate(values)}
        return None

    async def __aenter__(self) -> Self:
        empty = SimDevice(0, simdata=SimData(0, datatype=DataType.INVALID))
        self._server = ModbusTcpServer(empty, address=self._where, ignore_missing_devices=True)
        # Not the library's own devices: they have no bits of single addresses and cannot be silent.
        self._server.context = self  # type: ignore[assignment]
        await self._server.serve_forever(background=True)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]


class ModbusServer:
    """A simulated plant behind Modbus TCP: the registers hold what its instruments show."""

    def __init__(self, plant: Plant, bindings: Sequence[TagBinding], *, host: str, port: int) -> None:
        """Nothing is opened yet; no tag has a value."""
        self.plant = plant
        self.rows_written = 0
        self.lag_s = 0.0
        self._bindings = {binding.tag.name: binding for binding in bindings}
        self._by_device: dict[int, set[str]] = {}
        for tag, binding in self._bindings.items():
            assert isinstance(binding.address, ModbusAddress)
            self._by_device.setdefault(binding.address.device, set()).add(tag)
        self._plant = ModbusPlant(bindings, host=host, port=port)
        for tag in self._bindings:
            self._plant.unset(tag)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._plant.endpoint

    async def __aenter__(self) -> Self:
        try:
            await self._plant.__aenter__()
        except RuntimeError:
            raise AdapterError(f"plant {self.plant.name}: cannot listen: its port is taken, or not for us") from None
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._plant.__aexit__(*exc)

    async def tell(self, told: Told, silent: Collection[str] = ()) -> None:
        """Show what instruments of this plant show; a device whose tags are all silent does not answer."""
        for binding, _, raw in raw_rows(self._bindings, told):
            if math.isfinite(raw):
                self._plant.set(binding.tag.name, raw)
            else:
                self._plant.unset(binding.tag.name)
        for tag in self._bindings.keys() & silent:
            self._plant.unset(tag)
        self._plant.silent = {device for device, tags in self._by_device.items() if tags <= {*silent}}
        self.rows_written += 1
