"""Power cuts at many moments of a run: what was not synced is lost, kept or torn by sectors, as a disk may do it.

The files are made anew as they may stand on the disk after a cut: everything up to the last sync of each file, and of
what was written since then any of its sectors.
"""

import random
import struct
from contextlib import closing
from typing import NamedTuple

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics

SECTOR = 512
BATCHES = 120


class Operation(NamedTuple):
    kind: str  # w: write, t: truncate, s: sync, u: remove
    name: str
    offset: int
    data: bytes


def operations(log):
    content, at = log.read_bytes(), 0
    while at < len(content):
        kind, *head = struct.unpack_from("<cQQQ", content, at)
        at += struct.calcsize("<cQQQ")
        name = content[at : at + head[0]].decode()
        at += head[0]
        if at + head[2] > len(content):
            return
        yield Operation(kind.decode(), name, head[1], content[at : at + head[2]])
        at += head[2]


def write(file, offset, data):
    file.extend(bytes(max(0, offset + len(data) - len(file))))
    file[offset : offset + len(data)] = data


def truncate(file, size):
    del file[size:]
    file.extend(bytes(size - len(file)))


class Disk:
    """What is on the platters, and what waits since the last sync of each file."""

    def __init__(self):
        self.durable = {}
        self.waiting = {}

    def take(self, operation):
        kind, name = operation.kind, operation.name
        if kind == "u":
            self.durable.pop(name, None)
            self.waiting.pop(name, None)
        elif kind == "s":
            for waiting in self.waiting.pop(name, []):
                self._apply(self.durable, waiting)
        else:
            self.durable.setdefault(name, bytearray())
            self.waiting.setdefault(name, []).append(operation)

    def after_a_cut(self, rng):
        """The files as they may be found; how much of what waited is there varies from nothing to all."""
        files = {name: bytearray(content) for name, content in self.durable.items()}
        share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for waiting in self.waiting.values():
            for operation in waiting:
                for part in _sectors(operation):
                    if rng.random() < share:
                        self._apply(files, part)
        return files

    @staticmethod
    def _apply(files, operation):
        file = files[operation.name]
        if operation.kind == "t":
            truncate(file, operation.offset)
        else:
            write(file, operation.offset, operation.data)


def _sectors(operation):
    if operation.kind != "w":
        yield operation
        return
    at, end = operation.offset, operation.offset + len(operation.data)
    while at < end:
        following = min(end, (at // SECTOR + 1) * SECTOR)
        yield operation._replace(offset=at, data=operation.data[at - operation.offset : following - operation.offset])
        at = following


def test_a_power_cut_at_any_moment_loses_nothing_acknowledged_and_makes_nothing_up(
    tmp_path, numbered, numbered_process, times_long
):
    folder, log, found = tmp_path / "run", tmp_path / "log", tmp_path / "found"
    folder.mkdir()
    process = numbered_process(folder, log)
    for line in process.stdout:
        assert line.endswith("acknowledged\n"), line
        if int(line.split()[0]) == BATCHES:
            break
    process.kill()
    process.wait(60)
    run = list(operations(log))
    rng = random.Random(31)
    # Not before the schema stands: a store that never acknowledged anything may be anything.
    first = next(i for i, operation in enumerate(run) if operation.name == "acknowledged")
    cuts = set(rng.sample(range(first, len(run)), min(times_long(50, 1_000), len(run) - first)))
    disk, acknowledged, torn, chunks = Disk(), 0, 0, 0
    for number, operation in enumerate(run):
        if operation.name == "acknowledged":
            acknowledged = int.from_bytes(operation.data, "little")
        else:
            disk.take(operation)
        if number not in cuts:
            continue
        torn += any(disk.waiting.values())
        found.mkdir(exist_ok=True)
        for path in found.iterdir():
            path.unlink()
        for name, content in disk.after_a_cut(rng).items():
            if not name.endswith("-shm"):  # not used after a crash
                (found / name).write_bytes(content)
        with closing(SqliteStore(found / "history.db", Metrics(), numbered.EAGER)) as store:
            last = store.last_sequence("p")
            assert acknowledged <= last <= acknowledged + 1
            numbered.assert_holds(store, last)
            assert store._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (rows,) = store._writer.execute("SELECT count(*) FROM chunk").fetchone()
            chunks = max(chunks, rows)
            # It goes on from there.
            store.append("p", last + 1, *numbered.batch(last + 1)).result(60)
            numbered.assert_holds(store, last + 1)
    assert torn > len(cuts) // 4, "hardly a cut came between a write and its sync"
    assert chunks > 3
