"""The ledger of gaps: intervals of a tag in which samples may be missing, as the gateways told them."""

from collections.abc import Iterable, Mapping, Sequence
from sqlite3 import Connection

from uem.services.history.store import GapKey
from uem.twin_core.measurements import Gap, GapReason

_INSERT = "INSERT OR IGNORE INTO gap (start_ns, tag, end_ns, reason) VALUES (?, ?, ?, ?)"
FIRST: GapKey = (-(2**63), 0)


def insert(writer: Connection, gaps: Iterable[Gap], tag_ids: Mapping[str, int]) -> None:
    """Write gaps down; one that is there already stays as it is."""
    writer.executemany(
        _INSERT,
        [(gap.start_ns, tag_ids[gap.tag], gap.end_ns, gap.reason.value) for gap in gaps],
    )


def insert_damaged(writer: Connection, tag_ids: Iterable[int], first_ns: int, last_ns: int) -> None:
    """Write down that samples of these tags from `first_ns` to `last_ns`, both included, cannot be read."""
    start_ns, end_ns = max(first_ns - 1, -(2**63)), min(last_ns + 1, 2**63 - 1)
    writer.executemany(_INSERT, [(start_ns, number, end_ns, GapReason.STORE_DAMAGED.value) for number in tag_ids])


def page(
    connection: Connection, tag_ids: Sequence[int] | None, start_ns: int, end_ns: int, most: int, after: GapKey
) -> list[tuple[GapKey, Gap]]:
    """See Store.gaps; `tag_ids` None means all."""
    numbers = "" if tag_ids is None else f"AND gap.tag IN ({', '.join(map(str, tag_ids))})"
    # The samples that may be missing lie between the ends, which are not part of the gap.
    found = connection.execute(
        "SELECT gap.start_ns, gap.id, tag.name, gap.end_ns, gap.reason FROM gap JOIN tag ON tag.id = gap.tag "
        f"WHERE (gap.start_ns, gap.id) > (?, ?) AND gap.start_ns < ? - 1 AND gap.end_ns > ? {numbers} "
        "ORDER BY gap.start_ns, gap.id LIMIT ?",
        (*after, end_ns, start_ns, most),
    )
    return [((start, number), Gap(name, start, end, GapReason(reason))) for start, number, name, end, reason in found]
