from dataclasses import fields

from uem.twin_core.follow.seen import Seen


def test_a_copy_has_all_that_was_seen_and_goes_on_by_itself():
    seen = Seen(*range(1, len(fields(Seen)) + 1))
    copy = seen.copy()
    assert copy == seen
    copy.scrap += 1
    assert copy != seen
