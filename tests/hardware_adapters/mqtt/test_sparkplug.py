"""The states of an edge node, without a broker."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.base import Break
from uem.hardware_adapters.mqtt.payload import Payload
from uem.hardware_adapters.mqtt.sparkplug import ASK_AGAIN_NS, EdgeNode, by_node
from uem.twin_core.measurements import (
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_SENSOR_FAILURE,
    BAD_WAITING_FOR_INITIAL_DATA,
    UNCERTAIN_LAST_USABLE_VALUE,
    GapReason,
)

NOW = 1_700_000_000_000_000_000
MS = 1_000_000
TAGS = {("", "power"): [0], ("meter", "flow"): [1, 2]}
NAMES = {0: "power", 1: "flow", 2: "copy"}
ALL = frozenset(NAMES.values())
LOST = Break(GapReason.LINK_DOWN, ALL)
RESTARTED = Break(GapReason.SOURCE_RESTARTED, ALL)


def payload(seq, *metrics, birth=None):
    made = Payload(timestamp=NOW // MS)
    if seq is not None:
        made.seq = seq
    if birth is not None:
        made.metrics.add(name="bdSeq", datatype=4, long_value=birth)
    for metric in metrics:
        made.metrics.add(**metric)
    return made


def power(value):
    return {"alias": 7, "double_value": value}


def flow(value):
    return {"alias": 8, "double_value": value}


def bear(node, birth=0, now=NOW):
    told = node.receive("NBIRTH", "", payload(0, {"name": "power", "alias": 7, "double_value": 1.0}, birth=birth), now)
    meter = payload(1, {"name": "flow", "alias": 8, "is_null": True})
    return told, node.receive("DBIRTH", "meter", meter, now)


@pytest.fixture
def node():
    born = EdgeNode(TAGS, NAMES)
    bear(born)
    return born


def rows(told):
    return [(tag, "nan" if math.isnan(value) else value, quality) for tag, _, value, quality in told.rows]


def test_births_tell_values_and_what_is_missing():
    node = EdgeNode({**TAGS, ("meter", "x"): [3]}, {**NAMES, 3: "x"})
    assert not node.born
    assert set(node.missing()) == {0, 1, 2, 3}
    told, of_meter = bear(node)
    assert (told.lost, told.ask_rebirth, rows(told)) == (None, False, [(0, 1.0, 0)])
    assert rows(of_meter) == [(tag, "nan", BAD_WAITING_FOR_INITIAL_DATA) for tag in (1, 2)]
    assert node.born
    assert node.missing() == {3: "its birth has no metric 'x'"}


@given(st.lists(st.tuples(st.booleans(), st.floats(-1e9, 1e9)), min_size=1, max_size=20))
def test_messages_in_order_are_all_told_round_after_round(messages):
    node = EdgeNode(TAGS, NAMES)
    bear(node)
    for count, (of_node, value) in enumerate((messages * 600)[:600]):
        metric, kind = (power(value), "NDATA") if of_node else (flow(value), "DDATA")
        told = node.receive(kind, "" if of_node else "meter", payload((count + 2) % 256, metric), NOW)
        assert told.lost is None
        assert not told.ask_rebirth
        assert rows(told) == ([(0, value, 0)] if of_node else [(1, value, 0), (2, value, 0)])


@given(st.lists(st.sampled_from(["sent", "lost", "doubled", "rebirth"]), max_size=80))
def test_whatever_is_lost_there_is_one_break_between_what_was_told_before_and_after_it(events):
    """Against a node that counts its samples: a hole in them always has a break, and nothing is told twice."""
    node = EdgeNode(TAGS, NAMES)
    bear(node)
    seq, sample, last, broken, told_lost, now = 1, 0, 0, False, False, NOW

    def deliver(message, kind="NDATA", device=""):
        nonlocal last, broken, told_lost
        told = node.receive(kind, device, message, now)
        if told.lost is not None:
            assert not told_lost or kind == "NBIRTH", "told twice"
            broken = True
        told_lost = kind != "NBIRTH" and (told_lost or told.lost is not None)
        for tag, _, value, _ in told.rows:
            if tag == 0 and kind == "NDATA":
                assert value == last + 1 or (broken and value > last)
                last, broken = value, False

    for event in events:
        now += ASK_AGAIN_NS
        if event == "rebirth":
            deliver(payload(0, {"name": "power", "alias": 7, "is_null": True}, birth=0), "NBIRTH")
            deliver(payload(1, {"name": "flow", "alias": 8, "is_null": True}), "DBIRTH", "meter")
            seq = 1
            continue
        seq, sample = (seq + 1) % 256, sample + 1
        if event == "lost":
            continue
        message = payload(seq, power(float(sample)))
        deliver(message)
        if event == "doubled":
            deliver(message)


@pytest.mark.parametrize(
    ("kind", "device", "message"),
    [
        ("NDATA", "", payload(3, power(1.0))),  # 2 is lost
        ("NDATA", "", payload(1, power(1.0))),  # doubled
        ("NDATA", "", payload(None, power(1.0))),
        ("NDATA", "", payload(2, {"alias": 99, "double_value": 1.0})),
        ("NDATA", "", payload(2, flow(1.0))),  # of the device
        ("DDATA", "other", payload(2, flow(1.0))),
        ("NBIRTH", "", payload(1, birth=0)),
    ],
)
def test_a_message_out_of_order_is_not_believed_and_a_birth_is_asked_for_once(node, kind, device, message):
    told = node.receive(kind, device, message, NOW)
    assert (told.rows, told.lost, told.ask_rebirth) == ([], LOST, True)
    again = node.receive("NDATA", "", payload(2, power(1.0)), NOW + ASK_AGAIN_NS - 1)
    assert (again.rows, again.lost, again.ask_rebirth) == ([], None, False)
    assert node.receive("NDATA", "", payload(3, power(1.0)), NOW + ASK_AGAIN_NS).ask_rebirth
    told, _ = bear(node)
    assert (told.lost, rows(told)) == (None, [(0, 1.0, 0)])


def test_a_node_that_is_heard_before_its_birth_is_asked_for_it():
    node = EdgeNode(TAGS, NAMES)
    told = node.receive("NDATA", "", payload(9, power(1.0)), NOW)
    assert (told.rows, told.lost, told.ask_rebirth) == ([], None, True)


def test_a_dead_node_makes_all_its_tags_bad_once_and_its_next_birth_is_a_break(node):
    told = node.receive("NDEATH", "", payload(None, birth=0), NOW + 5)
    assert told.rows[0][1] == NOW + 5
    assert rows(told) == [(tag, "nan", BAD_NO_COMMUNICATION) for tag in (0, 1, 2)]
    assert node.receive("NDEATH", "", payload(None, birth=0), NOW).rows == []
    told, _ = bear(node, birth=1)
    assert told.lost == RESTARTED


def test_the_death_of_an_earlier_connection_is_nothing(node):
    told, _ = bear(node, birth=1)
    assert told.lost == RESTARTED
    assert node.receive("NDEATH", "", payload(None, birth=0), NOW).rows == []
    assert rows(node.receive("NDATA", "", payload(2, power(3.0)), NOW)) == [(0, 3.0, 0)]


def test_a_node_that_does_not_number_its_births_can_die_too():
    node = EdgeNode(TAGS, NAMES)
    bear(node, birth=None)
    assert len(node.receive("NDEATH", "", payload(None), NOW).rows) == 3


def test_a_dead_device_makes_its_tags_bad_and_no_others_and_may_not_speak(node):
    told = node.receive("DDEATH", "meter", payload(2), NOW)
    assert rows(told) == [(tag, "nan", BAD_NO_COMMUNICATION) for tag in (1, 2)]
    assert rows(node.receive("NDATA", "", payload(3, power(3.0)), NOW)) == [(0, 3.0, 0)]
    assert node.receive("DDATA", "meter", payload(4, flow(1.0)), NOW).lost == LOST


def test_a_historical_value_keeps_its_own_time(node):
    old = {**power(2.0), "timestamp": NOW // MS - 3_600_000, "is_historical": True}
    told = node.receive("NDATA", "", payload(2, old, power(3.0)), NOW + 1)
    assert told.rows == [(0, NOW - 3_600_000 * MS, 2.0, 0), (0, NOW, 3.0, 0)]


def test_a_damaged_message_is_a_loss(node):
    told = node.damaged(NOW)
    assert (told.lost, told.ask_rebirth) == (LOST, True)


@pytest.mark.parametrize(
    ("metric", "datatype", "told"),
    [
        ({"int_value": 2**32 - 5}, 3, (-5.0, 0)),
        ({"int_value": 0xFB}, 1, (-5.0, 0)),
        ({"long_value": 2**64 - 5}, 4, (-5.0, 0)),
        ({"int_value": 2**32 - 5}, 7, (2.0**32 - 5, 0)),
        ({"boolean_value": True}, 11, (1.0, 0)),
        ({"float_value": 0.5}, 9, (0.5, 0)),
        ({"double_value": math.inf}, 10, ("nan", BAD_SENSOR_FAILURE)),
        ({"string_value": "1"}, 12, ("nan", BAD_DECODING_ERROR)),
        ({"is_null": True}, 10, ("nan", BAD_SENSOR_FAILURE)),
        ({"double_value": 1.0, "properties": {"keys": ["Quality"], "values": [{"int_value": 192}]}}, 10, (1.0, 0)),
        (
            {"double_value": 1.0, "properties": {"keys": ["Quality"], "values": [{"int_value": 500}]}},
            10,
            (1.0, UNCERTAIN_LAST_USABLE_VALUE),
        ),
        (
            {"double_value": 1.0, "properties": {"keys": ["Quality"], "values": [{"int_value": 0}]}},
            10,
            ("nan", BAD_SENSOR_FAILURE),
        ),
    ],
)
def test_every_kind_of_value_is_a_number_or_bad(metric, datatype, told):
    node = EdgeNode({("", "m"): [0]}, {0: "m"})
    node.receive("NBIRTH", "", payload(0, {"name": "m", "datatype": datatype, "is_null": True}), NOW)
    assert rows(node.receive("NDATA", "", payload(1, {"name": "m", **metric}), NOW)) == [(0, *told)]


def test_a_payload_has_the_bytes_of_the_specification_and_skips_what_is_unknown():
    wire = bytes.fromhex("08e807") + b"\x12\x0e" + b"\x0a\x01A" + b"\x10\x02" + b"\x69" + bytes(6) + b"\x00\x40"
    read = Payload.FromString(wire + b"\x18\x05" + b"\x22\x01u" + b"\x2a\x01b")
    (metric,) = read.metrics
    assert (read.timestamp, read.seq, metric.name, metric.alias, metric.double_value) == (1000, 5, "A", 2, 2.0)


def test_tags_are_found_by_node_and_device():
    assert by_node([(0, "g/n", "m"), (1, "g/n/d", "m"), (2, "g/o", "m")]) == {
        ("g", "n"): {("", "m"): [0], ("d", "m"): [1]},
        ("g", "o"): {("", "m"): [2]},
    }
