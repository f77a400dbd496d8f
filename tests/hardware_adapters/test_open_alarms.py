"""What is new in what a plant says of its alarms."""

from dataclasses import replace

import pytest

from uem.hardware_adapters.base import Alarms, SampleQueue
from uem.hardware_adapters.open_alarms import OpenAlarms
from uem.twin_core.alarms import Alarm, AlarmState, Priority
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import UNCERTAIN, Samples

A = Alarm(
    condition="c",
    source="pump",
    name="too hot",
    state=AlarmState.UNACKNOWLEDGED,
    severity=700,
    time_ns=5,
    event="01",
)


def test_what_was_told_before_is_left_out_also_under_another_event():
    open_alarms = OpenAlarms("p")
    assert open_alarms.follow(Alarms((A,))) == [replace(A, plant="p")]
    assert open_alarms.follow(Alarms((A, replace(A, event="02")))) == []
    seen = replace(A, state=AlarmState.ACKNOWLEDGED)
    assert open_alarms.follow(Alarms((seen,), True, 9)) == [replace(seen, plant="p")]
    assert open_alarms.open_count == 1


def test_an_alarm_that_the_plant_no_longer_tells_has_returned_at_an_uncertain_time():
    open_alarms = OpenAlarms("p")
    open_alarms.follow(Alarms((A, replace(A, branch="b"), replace(A, condition="d"))))
    gone = open_alarms.follow(Alarms((replace(A, condition="d"),), True, 3))
    assert [(each.branch, each.state, each.time_ns, each.quality) for each in gone] == [
        ("", AlarmState.NORMAL, 6, UNCERTAIN),
        ("b", AlarmState.NORMAL, 6, UNCERTAIN),
    ]
    assert open_alarms.open_count == 1
    assert open_alarms.follow(Alarms((replace(A, condition="d"),), True, 4)) == []


def test_what_returned_while_the_gateway_was_stopped_is_told_at_its_next_start(tmp_path):
    path = tmp_path / "alarms-p.json"
    stays = replace(A, condition="d", message="heiß")
    before = OpenAlarms("p", path)
    before.follow(Alarms((A, stays, replace(A, condition="e"))))
    before.follow(Alarms((replace(A, condition="e", state=AlarmState.NORMAL),)))
    before.settled()
    after = OpenAlarms("p", path)
    assert after.follow(Alarms((stays,))) == [replace(stays, plant="p")]  # it may not have arrived before the stop
    told = after.follow(Alarms((stays,), True, 9))
    assert [(each.condition, each.state, each.time_ns) for each in told] == [("c", AlarmState.NORMAL, 9)]
    assert after.follow(Alarms((stays,), True, 10)) == []
    path.write_text('[{"plant": 3')
    assert OpenAlarms("p", path).follow(Alarms((), True, 9)) == []


def test_a_return_that_may_not_be_on_disk_at_a_kill_is_told_at_the_next_start(tmp_path):
    path = tmp_path / "alarms-p.json"
    before = OpenAlarms("p", path)
    before.follow(Alarms((A, replace(A, condition="d"), replace(A, branch="b"))))
    before.settled()
    back = [replace(each, state=AlarmState.NORMAL) for each in (A, replace(A, branch="b"))]
    before.follow(Alarms(tuple(back)))
    before.follow(Alarms((A,)))  # it has come again
    before.follow(Alarms((A,), True, 8))
    told = OpenAlarms("p", path).follow(Alarms((A,), True, 9))
    assert [(each.condition, each.branch, each.state) for each in told] == [
        ("c", "", AlarmState.UNACKNOWLEDGED),
        ("c", "b", AlarmState.NORMAL),
        ("d", "", AlarmState.NORMAL),
    ]
    before.settled()
    assert OpenAlarms("p", path).follow(Alarms((A,), True, 9)) == [replace(A, plant="p")]


def test_branches_that_have_ended_take_no_memory():
    open_alarms = OpenAlarms("p")
    for number in range(100):
        branch = replace(A, branch=str(number))
        open_alarms.follow(Alarms((branch,)))
        assert open_alarms.follow(Alarms((replace(branch, state=AlarmState.NORMAL),)))
        open_alarms.settled()
    assert (len(open_alarms._newest), len(open_alarms._leaving)) == (0, 0)


def test_a_full_queue_drops_samples_and_keeps_alarms():
    queue = SampleQueue(1)
    row = Samples.from_rows([("t", 1, 1.0, 0)])
    for each in (row, Alarms((A,)), row):
        queue.put(each)
    assert queue.dropped == 1
    assert Alarms((A,)) in queue._batches


def test_priorities_follow_from_the_severity():
    found = [replace(A, severity=s).priority for s in (1, 333, 334, 666, 667, 1000)]
    assert found == [Priority.LOW, Priority.LOW, Priority.MEDIUM, Priority.MEDIUM, Priority.HIGH, Priority.HIGH]
    with pytest.raises(InvalidInput, match="severity 1001"):
        replace(A, severity=1001)
    with pytest.raises(InvalidInput, match="without a condition"):
        replace(A, condition="")
