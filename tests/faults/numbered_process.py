"""Stores numbered batches and writes down what was acknowledged, until it is killed: `numbered_process.py FOLDER`.

Says "N acknowledged" or the error on stdout, a line for each.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.twin_core.errors import StorageError

spec = importlib.util.spec_from_file_location("numbered", Path(__file__).with_name("numbered.py"))
numbered = importlib.util.module_from_spec(spec)
spec.loader.exec_module(numbered)


def main(folder):
    store = SqliteStore(folder / "history.db", Metrics(), numbered.EAGER)
    with (folder / "acknowledged").open("ab", buffering=0) as acknowledged:
        sequence = 1
        while True:
            try:
                store.append("p", sequence, *numbered.batch(sequence)).result(600)
            except StorageError as error:
                print("error:", error, flush=True)
                time.sleep(0.05)
                continue
            os.write(acknowledged.fileno(), sequence.to_bytes(8, "little"))
            print(sequence, "acknowledged", flush=True)
            sequence += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
