"""The tags of one plant as arrays: raw value -> SI value for whole columns."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.measurements import Samples
from uem.twin_core.plant.territory import TagBinding


class TagTable:
    """Bindings in a fixed order; the position of a binding is the tag index of its samples."""

    def __init__(self, bindings: Sequence[TagBinding]) -> None:
        self.bindings = tuple(bindings)
        self.names = tuple(binding.tag.name for binding in self.bindings)
        self.scale = np.array([binding.scale for binding in self.bindings])
        self.offset = np.array([binding.offset for binding in self.bindings])

    def __len__(self) -> int:
        return len(self.bindings)

    def samples(
        self,
        tag: NDArray[np.uint32],
        source_time_ns: NDArray[np.int64],
        raw: NDArray[np.float64],
        quality: NDArray[np.uint32],
    ) -> Samples:
        """Samples in SI from columns of raw values, in order of source time; rows of equal time keep their order.

        Limits are not checked here: ingestion refuses a value out of range, visibly.
        """
        order = np.argsort(source_time_ns, kind="stable")
        tag = tag[order]
        value = self.scale[tag] * raw[order] + self.offset[tag]
        return Samples(self.names, tag, source_time_ns[order], value, quality[order])
