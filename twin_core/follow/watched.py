"""Machines as a shadow has them: what is seen of them is not drawn; and as a forecast has them."""

import math
from dataclasses import replace

from uem.twin_core.plant.furnace import Furnace, Segment
from uem.twin_core.plant.production import Failure, Law, Machine, deterministic, exponential

NEVER = deterministic(math.inf)
OVERTIME_S = 1e8  # that a furnace whose batches are counted waits for the count


def shadowed(machine: Machine, mean_s: float | None) -> Machine:
    """A watched machine as the shadow has it: it fails when it is seen to, and without a mean finishes so too.

    Whether it has its utilities is seen as well: an alarm stops only what nobody watches, and those in a forecast.
    """
    if machine.furnace is not None:
        machine = burning_on(machine, OVERTIME_S) if mean_s is None else machine
        cycle, recipes = machine.cycle, machine.recipes
    else:
        cycle = NEVER if mean_s is None else deterministic(mean_s)
        recipes = dict.fromkeys(machine.recipes, cycle)
    return replace(
        machine,
        cycle=cycle,
        recipes=recipes,
        uses={},
        failures=(Failure(to_fail=NEVER, to_repair=NEVER),),
        scrap=0.0,
    )


def burning_on(machine: Machine, seconds: float) -> Machine:
    """A furnace that holds the end of its recipe for so long, in place of the open door behind it."""
    furnace = machine.furnace
    assert furnace is not None

    def longer(recipe: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return (*recipe, Segment(to_k=recipe[-1].to_k, duration_s=seconds, hold=True, cooling=recipe[-1].cooling))

    held: Furnace = replace(
        furnace,
        recipe=longer(furnace.recipe),
        recipes={product: longer(recipe) for product, recipe in furnace.recipes.items()},
        unload_s=0.0,
    )
    laws = {product: deterministic(held.seconds(product)) for product in held.recipes}
    return replace(machine, furnace=held, cycle=deterministic(held.seconds()), recipes=laws)


def foreseen(machine: Machine, cycle: Law, to_fail_s: float, to_repair_s: float) -> Machine:
    """The same machine as a forecast has it, with what was learned; its runs have the layout of the shadow's."""
    fails = machine.failures and to_fail_s < math.inf
    crews = machine.failures[0].crews if machine.failures else ()
    failure = Failure(
        to_fail=exponential(to_fail_s) if fails else NEVER,
        to_repair=exponential(to_repair_s),
        crews=crews,
        priority=machine.failures[0].priority if machine.failures else 0,
    )
    if machine.furnace is not None:
        return replace(machine, failures=(failure,))
    return replace(machine, cycle=cycle, failures=(failure,))
