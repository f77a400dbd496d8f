"""What of a subscription has come, what is missing and what the server has to be told, by sequence numbers.

Notifications are numbered from 1 to 4,294,967,295 and then from 1 again; a keep-alive bears the number that comes next.
The server keeps a notification, to send it again, until it is acknowledged (OPC 10000-4, 5.14.1 and 5.14.5).
"""

from collections import deque
from collections.abc import Iterable, Sequence

from asyncua import ua

from uem.twin_core.measurements import is_bad

NUMBERS = 0xFFFF_FFFF
MOST_UNCONFIRMED = 1000  # acknowledgements kept for a server that confirms none of them
MOST_HOLES = 1000  # numbers kept that never came and may come late


class Delivery:
    """The sequence numbers of one subscription."""

    def __init__(self) -> None:
        self._next = 0  # 0: any may be the first
        self._span = 0  # how many numbers before the next one came, or are holes
        self._holes: deque[int] = deque(maxlen=MOST_HOLES)
        self._unsent: list[int] = []

    def missing(self, sequence: int, available: Iterable[int]) -> tuple[list[int], int]:
        """Of those before this one that did not come: the ones that can be had, in order, and how many cannot."""
        gap = self._ahead(sequence)
        if gap < 0:  # numbers that go back to one that never came: something is lost, nobody knows how much
            return [], int(not self._is_known(sequence))
        there = sorted({number for number in available if 0 <= self._ahead(number) < gap}, key=self._ahead)
        return there, gap - len(there)

    def came(self, sequence: int) -> bool:
        """Note a notification, to be acknowledged; whether it has not come before."""
        self._unsent.append(sequence)
        if self._is_known(sequence):
            return False
        ahead = self._ahead(sequence)
        if sequence in self._holes:
            self._holes.remove(sequence)
        elif ahead >= 0:
            self._skip(sequence)
            self._next, self._span = sequence % NUMBERS + 1, min(self._span + 1, NUMBERS // 2)
        else:  # a new beginning
            self._next, self._span = sequence % NUMBERS + 1, 1
            self._holes.clear()
        return True

    def reached(self, sequence: int) -> None:
        """Note a keep-alive. Some servers number it as the notification before."""
        if sequence and not self._is_known(sequence):
            self._skip(sequence)
            self._next = sequence

    def acknowledgements(self) -> list[int]:
        """What to acknowledge with the next request."""
        numbers, self._unsent = self._unsent, []
        return numbers

    def answered(self, sent: Sequence[int], results: Sequence[int]) -> None:
        """Note the result of each acknowledgement of a request; what the server did not confirm is sent again."""
        done = {number for number, result in zip(sent, results, strict=False) if _is_confirmed(result)}
        kept = [number for number in sent if number not in done]
        self._unsent = [*kept, *self._unsent][-MOST_UNCONFIRMED:]

    @property
    def expected(self) -> int:
        """The number that comes next; 0 if any may be the first."""
        return self._next

    def _is_known(self, sequence: int) -> bool:
        """Whether a number has come, however long ago."""
        return 0 < -self._ahead(sequence) <= self._span and sequence not in self._holes

    def _skip(self, sequence: int) -> None:
        """Remember the numbers before this one that did not come."""
        ahead = self._ahead(sequence)
        self._span = min(self._span + ahead, NUMBERS // 2)
        first = max(0, ahead - MOST_HOLES)
        self._holes.extend((self._next - 1 + step) % NUMBERS + 1 for step in range(first, ahead))

    def _ahead(self, sequence: int) -> int:
        """How far a number is ahead of the next one; negative if it is behind."""
        if self._next == 0 or sequence == 0:
            return 0
        return (sequence - self._next + NUMBERS // 2) % NUMBERS - NUMBERS // 2


def _is_confirmed(result: int) -> bool:
    """Whether the server is done with an acknowledgement, be it that it no longer has the notification."""
    return not is_bad(result) or result == ua.StatusCodes.BadSequenceNumberUnknown
