"""A disk that gives errors, is full or slow: no acknowledgement without the disk, and work goes on when it is well."""

import threading
import time
from contextlib import closing, suppress

import pytest

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics


class Lines:
    """What a process says, as it comes."""

    def __init__(self, process):
        self.all = []
        self._thread = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._thread.start()

    def _read(self, stdout):
        with suppress(ValueError):  # closed when the process is no longer needed
            self.all.extend(stdout)

    def acknowledged(self):
        return max((int(line.split()[0]) for line in self.all if line.endswith("acknowledged\n")), default=0)

    def errors(self):
        return [line for line in self.all if line.startswith("error")]

    def wait(self, condition):
        for _ in range(6000):
            if condition():
                return
            time.sleep(0.01)
        raise AssertionError(self.all[-10:])


@pytest.mark.parametrize(
    ("fault", "word"),
    [("fail-eio", "disk I/O error"), ("fail-full", "no space left"), ("fail-readonly", "disk I/O error")],
)
def test_a_disk_that_refuses_acknowledges_nothing_until_it_is_well_again(
    tmp_path, numbered, numbered_process, times_long, fault, word
):
    lines = Lines(numbered_process(tmp_path))
    lines.wait(lambda: lines.acknowledged() >= 5)
    for _ in range(times_long(3, 50)):
        before, said = lines.acknowledged(), len(lines.errors())
        (tmp_path / fault).touch()
        lines.wait(lambda said=said: len(lines.errors()) >= said + 3)
        # The batch that was on its way when the fault came may be on disk.
        during = lines.acknowledged()
        assert word in lines.errors()[-1]
        lines.wait(lambda said=said: len(lines.errors()) >= said + 6)
        assert lines.acknowledged() == during
        (tmp_path / fault).unlink()
        lines.wait(lambda before=before: lines.acknowledged() >= before + 10)


def test_after_errors_of_the_disk_everything_acknowledged_is_there(tmp_path, numbered, numbered_process, times_long):
    process = numbered_process(tmp_path)
    lines = Lines(process)
    for number in range(times_long(5, 100)):
        fault = tmp_path / ("fail-eio", "fail-full", "fail-readonly")[number % 3]
        fault.touch()
        time.sleep(0.02 * (number % 5))
        fault.unlink()
        before = lines.acknowledged()
        lines.wait(lambda before=before: lines.acknowledged() >= before + 7)
    process.kill()
    process.wait(60)
    with closing(SqliteStore(tmp_path / "history.db", Metrics(), numbered.EAGER)) as store:
        last = store.last_sequence("p")
        assert lines.acknowledged() <= last <= lines.acknowledged() + 1
        numbered.assert_holds(store, last)
        assert store._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_slow_disk_delays_acknowledgements_and_nothing_else(tmp_path, numbered, numbered_process):
    process = numbered_process(tmp_path)
    lines = Lines(process)
    lines.wait(lambda: lines.acknowledged() >= 5)
    (tmp_path / "fail-slow").touch()
    before = lines.acknowledged()
    lines.wait(lambda: lines.acknowledged() >= before + 3)
    (tmp_path / "fail-slow").unlink()
    lines.wait(lambda: lines.acknowledged() >= before + 20)
    assert lines.errors() == []
    process.kill()
    process.wait(60)
    with closing(SqliteStore(tmp_path / "history.db", Metrics(), numbered.EAGER)) as store:
        numbered.assert_holds(store, store.last_sequence("p"))
