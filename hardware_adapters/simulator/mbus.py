"""Simulated meters behind a real TCP port: frames of EN 13757-2 and records of EN 13757-3, written by plain code."""

import asyncio
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Self

from uem.hardware_adapters.simulator.living import Told
from uem.hardware_adapters.simulator.raw import raw_rows
from uem.twin_core.errors import AdapterError
from uem.twin_core.plant.addresses import MbusAddress
from uem.twin_core.plant.territory import Plant, TagBinding
from uem.twin_core.units import ZERO_CELSIUS_K

MORE = b"\x1f"  # at the end of a telegram: another one follows
NO_VALUE = -(2**31)  # of an integer record: there is none
MOST_REQUESTS = 1000  # that are remembered
# How a meter writes a quantity: code, SI value of one digit, SI value of zero.
RECORDS = {
    "energy": (0x06, 3.6e6, 0.0),  # kWh
    "volume": (0x13, 1e-3, 0.0),  # l
    "mass": (0x1B, 1.0, 0.0),  # kg
    "power": (0x2B, 1.0, 0.0),  # W
    "volume_flow": (0x3B, 1e-3 / 3600.0, 0.0),  # l/h
    "mass_flow": (0x53, 1.0 / 3600.0, 0.0),  # kg/h
    "flow_temperature": (0x59, 0.01, ZERO_CELSIUS_K),
    "return_temperature": (0x5D, 0.01, ZERO_CELSIUS_K),
    "temperature_difference": (0x61, 0.01, 0.0),
    "external_temperature": (0x65, 0.01, ZERO_CELSIUS_K),
    "pressure": (0x68, 100.0, 0.0),  # mbar
    "on_time": (0x20, 1.0, 0.0),
    "operating_time": (0x24, 1.0, 0.0),
}


def integer(vif: bytes, value: int, *, size: int = 4, dif: int = 0, dife: bytes = b"") -> bytes:
    """A record with a binary number; `dif` brings function and storage bits, `dife` more of storage and tariff."""
    coding = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 8: 7}[size]
    return _head(coding | dif, dife) + vif + value.to_bytes(size, "little", signed=True)


def digits(vif: bytes, text: str, *, dif: int = 0, dife: bytes = b"") -> bytes:
    """A record with the BCD digits of `text`, most significant first, of which there are 2, 4, 6, 8 or 12."""
    coding = {2: 9, 4: 10, 6: 11, 8: 12, 12: 14}[len(text)]
    return _head(coding | dif, dife) + vif + bytes.fromhex(text)[::-1]


def real(vif: bytes, value: float) -> bytes:
    """A record with a number of 32 bits."""
    return _head(5, b"") + vif + struct.pack("<f", value)


def _head(dif: int, dife: bytes) -> bytes:
    return bytes([dif | 0x80 if dife else dif]) + dife


def long(meter: int, records: bytes, *, status: int = 0, ci: int = 0x72, signature: int = 0) -> bytes:
    """RSP_UD: a telegram with the header that says who the meter is."""
    head = bytes.fromhex("78563412 2423 01 04 55") + bytes([status]) + signature.to_bytes(2, "little")
    body = bytes([0x08, meter, ci]) + head + records
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])


class MbusPlant:
    """Meters by primary address, each with the records of its telegrams, on the bus of one converter."""

    def __init__(self, meters: Mapping[int, Sequence[bytes]], *, host: str = "127.0.0.1", port: int = 0) -> None:
        """The last byte of all telegrams but the last one should be MORE; port 0 takes a free one."""
        self._where = (host, port)
        self.meters = {meter: list(telegrams) for meter, telegrams in meters.items()}
        self.requests: list[tuple[int, int]] = []  # control, meter of the last
        self.silent: set[int] = set()
        self.status: dict[int, int] = {}
        self.answers: dict[int, bytes] = {}  # instead of the telegrams of a meter
        self.spoiled = 0  # so many of the next telegrams have a wrong checksum
        self.echo = False  # the converter sends back what it gets
        self._at: dict[int, tuple[int, int | None]] = {}  # telegram that is next or was last, frame count bit of it
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"mbus.tcp://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self._where)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._serving.values():
            writer.close()
        await asyncio.gather(*self._serving)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readexactly(5)
                if self.echo:
                    writer.write(request)
                if request[0] == 0x10 and request[4] == 0x16 and sum(request[1:3]) & 0xFF == request[3]:
                    writer.write(self._answer(request[1], request[2]))
                    await writer.drain()
        writer.close()

    def _answer(self, control: int, meter: int) -> bytes:
        self.requests.append((control, meter))
        del self.requests[:-MOST_REQUESTS]
        if meter in self.silent or meter not in self.meters:
            return b""
        if control == 0x40:
            self._at[meter] = 0, None
            return b"\xe5"
        at, count = self._at.get(meter, (0, None))
        if count is not None and count != control & 0x20:
            at = (at + 1) % len(self.meters[meter])
        self._at[meter] = at, control & 0x20
        answer = self.answers.get(meter) or long(meter, self.meters[meter][at], status=self.status.get(meter, 0))
        if self.spoiled:
            self.spoiled -= 1
            return answer[:-2] + bytes([answer[-2] ^ 1]) + answer[-1:]
        return answer


class MbusServer:
    """A simulated plant of heat meters behind M-Bus over TCP: each tells in one telegram what it shows."""

    def __init__(self, plant: Plant, bindings: Sequence[TagBinding], *, host: str, port: int) -> None:
        """Nothing is opened yet; no record has a value."""
        self.plant = plant
        self.rows_written = 0
        self.lag_s = 0.0
        self._bindings = {binding.tag.name: binding for binding in bindings}
        self._meters: dict[int, dict[str, MbusAddress]] = {}
        for tag, binding in self._bindings.items():
            assert isinstance(binding.address, MbusAddress)
            self._meters.setdefault(binding.address.meter, {})[tag] = binding.address
        self._shown = dict.fromkeys(self._bindings, math.nan)
        self._plant = MbusPlant(self._telegrams(), host=host, port=port)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._plant.endpoint

    async def __aenter__(self) -> Self:
        try:
            await self._plant.__aenter__()
        except OSError as error:
            raise AdapterError(f"plant {self.plant.name}: {error.strerror}") from None
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._plant.__aexit__(*exc)

    async def tell(self, told: Told, silent: Collection[str] = ()) -> None:
        """Show what instruments of this plant show; a meter whose tags are all silent does not answer."""
        for binding, _, raw in raw_rows(self._bindings, told):
            self._shown[binding.tag.name] = raw
        self._shown |= dict.fromkeys(self._bindings.keys() & silent, math.nan)
        self._plant.meters.update(self._telegrams())
        self._plant.silent = {meter for meter, tags in self._meters.items() if tags.keys() <= {*silent}}
        self.rows_written += 1

    def _telegrams(self) -> dict[int, list[bytes]]:
        return {
            meter: [b"".join(_record(address.quantity, self._shown[tag]) for tag, address in tags.items())]
            for meter, tags in self._meters.items()
        }


def _record(quantity: str, value: float) -> bytes:
    """A record of 32 bits with a value in SI; NaN, or one that has no room, is none."""
    code, digit, zero = RECORDS[quantity]
    number = round((value - zero) / digit) if math.isfinite(value) else NO_VALUE
    return integer(bytes([code]), number if abs(number) < -NO_VALUE else NO_VALUE)
