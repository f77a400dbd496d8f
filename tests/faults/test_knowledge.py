"""kill -9 while what twins have learned is written, again and again: it is there whole, and not older than was said."""

import random
import runpy
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics

PROCESS = Path(__file__).with_name("knowledge_process.py")
known = runpy.run_path(str(PROCESS))["known"]


def test_a_kill_leaves_what_was_kept_last_whole(tmp_path, times_long):
    path, rng, first = tmp_path / "history.db", random.Random(3), 1
    for _ in range(times_long(10, 100)):
        command = [sys.executable, str(PROCESS), str(path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            said = [int(process.stdout.readline()) for _ in range(rng.randrange(1, 20))]
            process.kill()
            said += [int(line) for line in process.stdout.read().split()]
        with closing(SqliteStore(path, Metrics())) as store:
            kept = store.knowledge("valley")
        assert kept == known(kept.time_ns)
        assert said[-1] <= kept.time_ns <= said[-1] + 1
        first = kept.time_ns + 1
