"""Outages of every kind, also within outages, between us and a plant of an independent stack; the oracle is a counter.

Twelve here; `make chaos` makes a hundred, restarts the plant in between and holds the time until it is back to the bar.
"""

import asyncio
import itertools
import os
import random
import time

import pytest

from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.supervise import PlantLink
from uem.hardware_adapters.tasks import end

OUTAGES = int(os.environ.get("UEM_CHAOS", "12"))
SEED = int(os.environ.get("UEM_CHAOS_SEED", "5"))
IS_LONG = "UEM_CHAOS" in os.environ
COUNTER_MS, PUBLISH_MS = 20, 200.0
BAR_S = 1.5 * PUBLISH_MS / 1000 + 1.0


class Record:
    """Everything that a link delivers."""

    def __init__(self):
        self.rows = {"Counter": [], "Kept": []}
        self.gaps = []

    def deliver(self, plant, samples, gaps):
        for name, when, value, _ in samples.rows():
            self.rows[name].append((when, int(value)))
        self.gaps += gaps

    def newest_ns(self, tag):
        return self.rows[tag][-1][0] if self.rows[tag] else 0

    def check(self, tag):
        """Each count is there once and in order, or inside of a gap that ends at its neighbours; no gap is empty."""
        rows = self.rows[tag]
        gaps = {(gap.start_ns, gap.end_ns) for gap in self.gaps if gap.tag == tag}
        assert len(gaps) == sum(gap.tag == tag for gap in self.gaps), "a gap is told twice"
        jumps = set()
        for (t0, n0), (t1, n1) in itertools.pairwise(rows):
            assert t0 < t1, f"{tag}: {n1} of {t1} after {n0} of {t0}: twice, or out of order"
            if n1 != n0 + 1:
                jumps.add((t0, t1))
        assert jumps - gaps == set(), f"{tag}: silent gaps"
        assert gaps - jumps == set(), f"{tag}: gaps in which nothing is missing"
        return len(jumps)


@pytest.mark.slow
@pytest.mark.timeout(3000 if IS_LONG else 600)
async def test_outages_leave_no_silent_gap_no_duplicate_and_no_disorder(
    node_plant, node_certificates, node_tags, chaos, until
):
    chance, record, times, restarts = random.Random(SEED), Record(), [], 0
    async with (
        node_plant(counterMs=COUNTER_MS, history=100_000) as plant,
        chaos(plant.endpoint) as line,
    ):

        def make():
            return OpcUaAdapter(
                line.endpoint, node_tags("Counter", "Kept"), node_certificates, publish_interval_ms=PUBLISH_MS
            )

        link = PlantLink("plant", make, record.deliver)
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: record.rows["Counter"])
            for outage in range(OUTAGES):
                await asyncio.sleep(chance.choice([0.0, 0.1, 0.5, 1.0]))
                longest_s = chance.choice([0.5, 2.0, 5.0])
                what = [await line.outage(chance, longest_s)]
                if outage % 4 == 3:
                    what.append(chance.choice(["forget", "expire"]))
                    plant.tell(what[-1])
                while chance.random() < 0.4:  # another one while it recovers from the one before
                    await asyncio.sleep(chance.choice([0.0, 0.02, 0.1, 0.3, 0.6]))
                    what.append(await line.outage(chance, longest_s))
                if IS_LONG and outage % 20 == 19:
                    await plant.kill()
                    await plant.start()
                    what.append("restart")
                    restarts += 1
                back_ns, began = time.time_ns(), time.monotonic()
                await until(lambda back_ns=back_ns: record.newest_ns("Counter") > back_ns)
                back_s = time.monotonic() - began
                if what[-1] != "restart":  # a plant that has just started is slow by itself
                    times.append(back_s)
                print(f"{outage}: back after {back_s:.2f} s: {'; '.join(what)}", flush=True)
        finally:
            await end([running])
    unkept, unkept_of_kept = record.check("Counter"), record.check("Kept")
    print(f"longest {max(times):.2f} s of {BAR_S:.2f}; {unkept} and {unkept_of_kept} gaps; {link.repeated} repeated")
    assert unkept_of_kept <= restarts, "what the plant had in its history is a gap"
    if IS_LONG:
        assert max(times) <= BAR_S
