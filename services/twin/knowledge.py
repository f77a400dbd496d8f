"""Keeps what twins have learned over days, and gives it back to those of the next process.

Written for every quarter of an hour of plant time and at a clean stop, so a kill costs so much of it. What does not fit
any more is refused, counted and told; the twin learns anew and its knowledge takes the place of what was refused.
"""

import asyncio
import io
import logging
import zipfile
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import numpy as np

from uem.services.history.store import KeptKnowledge, Store
from uem.services.metrics import Metrics
from uem.twin_core.errors import InvalidInput, StorageError, TwinError
from uem.twin_core.knowledge import Knowledge
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.twin import AssetTwin

EVERY_NS = 900 * NS_PER_S  # of plant time
LOOK_EVERY_S = 10.0  # of ours: a plant that is simulated a thousand times as fast writes no more often
_LOG = logging.getLogger(__name__)


class Keeper:
    """What is learned of the assets of one territory, in a store."""

    def __init__(self, store: Store, territory: str, metrics: Metrics) -> None:
        self._store = store
        self._territory = territory
        self._kept_ns: dict[str, int] = {}
        self._failing: set[str] = set()
        self._refused = metrics.counter(
            "uem_twin_refused_knowledge_total",
            "Times that what a twin had learned over days was damaged or did not fit: it learns anew.",
            ["asset"],
        )

    async def recall(self, twin: AssetTwin, until_ns: int) -> None:
        """Let a twin that has not begun know what was kept of its asset, if that fits and is of before `until_ns`."""
        if not twin.knowledge_of:
            return
        try:
            kept = await asyncio.to_thread(self._store.knowledge, twin.name)
            if kept is None:
                return
            if kept.fits != self._fits(twin.knowledge_of):
                raise InvalidInput(
                    "it was learned with another territory file or version of uem; a backup of then has it"
                )
            if kept.time_ns > until_ns:
                raise InvalidInput("it is of a plant time that the history does not reach; was an older one put back?")
            twin.recall(Knowledge(twin.knowledge_of, kept.time_ns, _unpacked(kept.data)))
        except TwinError as error:
            self._refused.add(1, twin.name)
            text = "asset %s learns anew what takes days, and that takes the place of what was kept: %s"
            _LOG.warning(text, twin.name, error)
            return
        self._kept_ns[twin.name] = kept.time_ns
        _LOG.info("asset %s knows what was learned of it until %d ns of plant time", twin.name, kept.time_ns)

    async def run(self, assets: Iterable[str], learned: Callable[[str], Awaitable[Knowledge | None]]) -> None:
        """Keep what was learned as plant time goes on, until cancelled."""
        names = list(assets)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.keep(names, learned)

    async def keep(
        self,
        assets: Iterable[str],
        learned: Callable[[str], Awaitable[Knowledge | None]],
        every_ns: int = EVERY_NS,
    ) -> None:
        """Keep what was learned of each asset whose plant time has gone on by so much since, or back."""
        for asset in assets:
            try:
                known = await learned(asset)
                if known is None or 0 <= known.time_ns - self._kept_ns.get(asset, -(2**62)) < every_ns:
                    continue
                data = await asyncio.to_thread(_packed, known)
                kept = KeptKnowledge(asset, self._fits(known.of), known.time_ns, data)
                await asyncio.wrap_future(self._store.keep_knowledge(kept))
                self._kept_ns[asset] = known.time_ns
                self._failing.discard(asset)
            except StorageError as error:
                if asset not in self._failing:
                    self._failing.add(asset)
                    _LOG.warning("what was learned of %s is not kept: %s", asset, error)

    def _fits(self, of: str) -> str:
        return f"{self._territory}/{of}"


def _packed(known: Knowledge) -> bytes:
    file, arrays = io.BytesIO(), dict[str, Any](known.arrays)
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: np.asarray(found[name], np.float64) for name in found.files}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"not the arrays that were written: {error}") from None
