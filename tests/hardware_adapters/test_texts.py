import pytest

from uem.hardware_adapters.texts import readable


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Wärme".encode("latin-1"), "Wärme"),
        ("Wärme °C \N{OLD PERSIAN SIGN A}".encode(), "Wärme °C \N{OLD PERSIAN SIGN A}"),
        (b"", ""),
    ],
)
def test_bytes_that_are_no_utf_8_are_read_as_latin_1(raw, text):
    assert readable(raw.decode("utf-8", "surrogateescape")) == text


def test_half_of_a_pair_is_a_question_mark():
    assert readable("a\ud800b") == "a?b"
