"""Appends batches to a store until the system refuses to write, then gets space back: `fill_disk.py FOLDER`."""

import json
import resource
import sys
from pathlib import Path

from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.metrics import Metrics
from uem.twin_core.errors import StorageError
from uem.twin_core.measurements import Samples


def batch(sequence):
    return Samples.from_rows((f"tag/{i}", sequence, float(i), 0) for i in range(500))


def main(folder):
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = SqliteStore(folder / "history.db", Metrics(), Tuning(linger_s=0.0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, most))  # no file may grow beyond
    acknowledged, errors = 0, []
    for _ in range(100):
        try:
            store.append("p", acknowledged + 1, batch(acknowledged + 1)).result(60)
            acknowledged += 1
        except StorageError as error:
            errors.append(str(error))
            if len(errors) == 3:
                break
    problem = store.problem()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    store.append("p", acknowledged + 1, batch(acknowledged + 1)).result(60)
    found = {"acknowledged": acknowledged, "errors": errors, "problem": problem, "after": store.problem()}
    print(json.dumps(found | {"rows": len(store.read(["tag/7"], 0, 2**63 - 1))}))
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
