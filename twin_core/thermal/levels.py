"""For which kind of processor kernels that are compiled several times run here: the newest that this one is.

UEM_VECTORS=v2, v3 or v4 forces one that the processor has (x86-64 levels; others have v2 only, in plain C); results are
the same to the last bit.
"""

import os
from typing import Final

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.rings import vectors

LEVELS: Final = ("v2", "v3", "v4")


def _chosen() -> str:
    possible = LEVELS[: vectors() + 1]
    level = os.environ.get("UEM_VECTORS") or possible[-1]
    if level not in possible:  # an instruction that is not there would end the process without a word
        raise InvalidInput(f"UEM_VECTORS={level!r}; this processor has {', '.join(possible)}")
    return level


LEVEL: Final = _chosen()
