import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.services.history import convert as history_convert
from uem.services.ingestion import convert
from uem.services.status import InvalidField
from uem.twin_core.measurements import Samples
from uem.v1 import common_pb2, ingestion_pb2
from uem.v1.columns import INGEST_REQUEST, READ_SAMPLES_RESPONSE

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b/c", "Wärme"]),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=64),
        st.integers(0, 2**32 - 1),
    ),
    max_size=40,
)


@given(ROWS)
def test_columns_survive_the_wire_bit_for_bit(same, rows):
    samples = Samples.from_rows(rows)
    found = READ_SAMPLES_RESPONSE.decode(READ_SAMPLES_RESPONSE.encode(history_convert.frame(samples)))
    same(convert.samples(found.message.samples.tag_name, found.columns), samples)


def message(rows=2, names=("a",), **changed):
    columns = {"tag": [0] * rows, "source_time_ns": [1] * rows, "value": [1.0] * rows, "quality": [0] * rows}
    samples = common_pb2.Samples(tag_name=names, **(columns | changed))
    return INGEST_REQUEST.split(ingestion_pb2.IngestRequest(samples=samples))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (message(value=[1.0]), "samples.value"),
        (message(source_time_ns=[]), "samples.source_time_ns"),
        (message(quality=[0, 0, 0]), "samples.quality"),
        (message(tag=[0, 1]), "samples.tag"),
        (message(names=()), "samples.tag"),
        (message(rows=65_537), "samples.tag"),
        (message(names=["a"] * 65_537), "samples.tag_name"),
    ],
    ids=["value", "time", "quality", "index", "no names", "rows", "names"],
)
def test_a_batch_of_wrong_form_names_the_field(wrong, field):
    with pytest.raises(InvalidField) as caught:
        convert.samples(wrong.message.samples.tag_name, wrong.columns)
    assert caught.value.field == field


def test_producers_have_a_name_and_sequences_count_from_one():
    assert convert.producer("p" * 200) == "p" * 200
    assert convert.sequence(1) == 1
    for name in ("", "p" * 201):
        with pytest.raises(InvalidField, match="1 to 200"):
            convert.producer(name)
    for number in (0, 2**62 + 1, 2**63 - 1):
        with pytest.raises(InvalidField, match="from 1"):
            convert.sequence(number)
