"""Keeps ever new knowledge of one asset, to be killed: `knowledge_process.py FILE FIRST`; a line for each on disk."""

import sys
from pathlib import Path

from uem.services.history.sqlite import SqliteStore
from uem.services.history.store import KeptKnowledge
from uem.services.metrics import Metrics

SIZE = 180_000  # bytes, as of the network of the valley


def known(number):
    """As much as that, all of it of one number."""
    return KeptKnowledge("valley", "of valley", number, number.to_bytes(4, "big") * (SIZE // 4))


if __name__ == "__main__":
    store, number = SqliteStore(Path(sys.argv[1]), Metrics()), int(sys.argv[2])
    while True:
        store.keep_knowledge(known(number)).result(60)
        print(number, flush=True)
        number += 1
