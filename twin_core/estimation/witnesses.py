"""Who tells that a state or a count that is not told anew is still so.

A plant that tells changes only (OPC UA, Sparkplug B) is silent for hours about a machine that works on, or stands.
While what is told beside it goes on, a change would have been told too. That is what gauges of the same machine say,
where it has any at this plant, or else whatever this plant says. A sensor has no witnesses: one that stops changing is
dead, not steady.
"""

from collections.abc import Mapping, Sequence


def witnesses(
    tags: Sequence[str], discrete: Mapping[str, Sequence[str]], plants: Mapping[str, str]
) -> dict[str, Sequence[str]]:
    """The witnesses of each discrete tag, all of them among `tags`.

    `discrete`: states and counts, with the gauges of what they are of; `plants`: which plant tells a tag. A tag whose
    plant is not known has no witnesses: nobody knows who would be silent with it.
    """
    of_plant: dict[str, list[str]] = {}
    for tag in tags:
        if tag in plants:
            of_plant.setdefault(plants[tag], []).append(tag)
    found: dict[str, Sequence[str]] = {}
    for tag, gauges in discrete.items():
        if tag in plants:
            near = [gauge for gauge in gauges if plants.get(gauge) == plants[tag]]
            found[tag] = near or of_plant[plants[tag]]
    return found
