"""Tags -> blocks of registers that one request reads, and registers -> values of all tags of a block at once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.plant.addresses import ModbusAddress

MOST_REGISTERS = 125  # of one answer (Modbus application protocol 1.1b3, 6.3 and 6.4)
MOST_BITS = 2000  # 6.1 and 6.2
BRIDGED = 16  # unwanted registers between two wanted ones that cost less than a request of their own
BITS = ("coil", "discrete")

_WORDS = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "float32": 2, "uint64": 4, "int64": 4, "float64": 4}
_DTYPES = {"uint": ">u", "int": ">i", "float": ">f"}


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring registers or bits of one device; `tags` are (tag index, address)."""

    device: int
    table: str
    start: int
    count: int
    tags: tuple[tuple[int, ModbusAddress], ...]

    def __str__(self) -> str:
        return f"device {self.device}, {self.table} {self.start} to {self.start + self.count - 1}"


def width(address: ModbusAddress) -> int:
    """Registers, or bits, that a tag takes."""
    return 1 if address.table in BITS else _WORDS[address.data_type]


def blocks(tags: Iterable[tuple[int, ModbusAddress]], *, bridged: int = BRIDGED) -> list[Block]:
    """As few requests as it takes, each of one device and one table; at most `bridged` unwanted ones in between."""
    by_table: dict[tuple[int, str], list[tuple[int, ModbusAddress]]] = defaultdict(list)
    for index, address in tags:
        by_table[address.device, address.table].append((index, address))
    return [block for (device, table), its in by_table.items() for block in _of_table(device, table, its, bridged)]


def _of_table(device: int, table: str, tags: list[tuple[int, ModbusAddress]], bridged: int) -> Iterator[Block]:
    most = MOST_BITS if table in BITS else MOST_REGISTERS
    tags = sorted(tags, key=lambda tag: (tag[1].address, width(tag[1])))
    members: list[tuple[int, ModbusAddress]] = []
    start = end = 0
    for tag in tags:
        its_end = tag[1].address + width(tag[1])
        if members and (tag[1].address > end + bridged or max(end, its_end) - start > most):
            yield Block(device, table, start, end - start, tuple(members))
            members = []
        if not members:
            start = end = tag[1].address
        members.append(tag)
        end = max(end, its_end)
    if members:
        yield Block(device, table, start, end - start, tuple(members))


class Decoder:
    """The tags of a block, sorted by how they are written, so that each kind is decoded for all of its tags at once."""

    def __init__(self, block: Block) -> None:
        self.tag: NDArray[np.uint32] = np.array([index for index, _ in block.tags], np.uint32)
        self._at = np.array([address.address - block.start for _, address in block.tags], np.intp)
        self._kinds: dict[tuple[str, str], NDArray[np.intp]] = {}
        self._bits = np.array([-1 if a.bit is None else a.bit for _, a in block.tags], np.intp)
        if block.table in BITS:
            return
        kinds = [(address.data_type, address.byte_order) for _, address in block.tags]
        for kind in set(kinds):
            self._kinds[kind] = np.flatnonzero([kind == other for other in kinds])

    def values(self, read: Sequence[int] | Sequence[bool]) -> NDArray[np.float64]:
        """Value of each tag (n,), NaN where a number is none; `read` are the registers or bits of the block."""
        words = np.asarray(read, np.uint16)
        if not self._kinds:
            return words[self._at].astype(np.float64)
        value = np.empty(len(self.tag))
        for (data_type, byte_order), rows in self._kinds.items():
            value[rows] = _numbers(words, self._at[rows], data_type, byte_order)
        single = self._bits >= 0
        if single.any():
            value[single] = (words[self._at[single]] >> self._bits[single].astype(np.uint16)) & 1
        value[~np.isfinite(value)] = np.nan
        return value


def _numbers(words: NDArray[np.uint16], at: NDArray[np.intp], data_type: str, byte_order: str) -> NDArray[np.float64]:
    count = _WORDS[data_type]
    mine = words[at[:, None] + np.arange(count)]
    if byte_order in ("BADC", "DCBA"):
        mine = mine.byteswap()
    if byte_order in ("CDAB", "DCBA"):
        mine = mine[:, ::-1]
    kind = data_type.rstrip("0123456789")
    numbers = np.ascontiguousarray(mine.astype(">u2")).view(f"{_DTYPES[kind]}{2 * count}")
    return numbers[:, 0].astype(np.float64)
