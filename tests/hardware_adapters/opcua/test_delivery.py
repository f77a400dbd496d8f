"""Sequence numbers of a subscription: what is missing, what is acknowledged."""

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.opcua.delivery import MOST_UNCONFIRMED, NUMBERS, Delivery

GOOD, UNKNOWN, BUSY = 0, ua.StatusCodes.BadSequenceNumberUnknown, ua.StatusCodes.BadOutOfMemory


def after(*numbers):
    delivery = Delivery()
    for number in numbers:
        delivery.came(number)
    return delivery


@pytest.mark.parametrize("first", [1, 17, NUMBERS])
def test_any_number_may_be_the_first(first):
    assert after().missing(first, [first]) == ([], 0)


def test_the_next_number_leaves_nothing_missing():
    assert after(4, 5).missing(6, [5, 6]) == ([], 0)


def test_what_was_skipped_is_asked_for_in_order_if_it_can_be_had():
    assert after(5).missing(10, [5, 10, 9, 7]) == ([7, 9], 2)


def test_numbers_begin_again_at_one():
    delivery = after(NUMBERS - 1)
    assert delivery.missing(2, [1, NUMBERS, 2]) == ([NUMBERS, 1], 0)
    delivery.came(NUMBERS)
    assert delivery.missing(1, []) == ([], 0)


def test_a_notification_that_comes_twice_is_taken_once_and_acknowledged_again():
    delivery = after(5, 6)
    assert delivery.missing(5, []) == ([], 0)
    assert not delivery.came(5)
    assert delivery.missing(7, []) == ([], 0)
    assert delivery.acknowledgements() == [5, 6, 5]


def test_a_notification_that_comes_twice_is_known_however_long_ago_it_came():
    delivery = after(*range(5, 5000))
    assert delivery.missing(7, []) == ([], 0)
    assert not delivery.came(7)
    assert delivery.missing(5000, []) == ([], 0)


def test_a_number_that_was_left_out_may_come_late():
    delivery = after(5, 6, 9)
    assert delivery.came(7)
    assert not delivery.came(7)
    assert delivery.came(8)
    assert delivery.missing(10, []) == ([], 0)


def test_numbers_that_go_back_to_one_that_never_came_are_a_loss_and_go_on_from_there():
    delivery = after(50, 51)
    assert delivery.missing(3, []) == ([], 1)
    assert delivery.came(3)
    assert delivery.missing(4, []) == ([], 0)


def test_a_keep_alive_tells_which_number_comes_next():
    delivery = after(5)
    assert delivery.missing(8, [5, 6]) == ([6], 1)
    delivery.came(6)
    delivery.reached(8)
    assert delivery.missing(8, []) == ([], 0)


@pytest.mark.parametrize("number", [0, 5], ids=["none", "the one before"])
def test_keep_alives_that_are_numbered_otherwise_change_nothing(number):
    delivery = after(5)
    assert delivery.missing(number, []) == ([], 0)
    delivery.reached(number)
    assert delivery.missing(6, []) == ([], 0)


def test_an_acknowledgement_is_sent_until_it_is_confirmed():
    delivery = after(1, 2, 3, 4)
    sent = delivery.acknowledgements()
    assert sent == [1, 2, 3, 4]
    assert delivery.acknowledgements() == []
    delivery.came(5)
    delivery.answered(sent, [GOOD, BUSY, UNKNOWN])
    assert delivery.acknowledgements() == [2, 4, 5]


def test_acknowledgements_for_a_server_that_confirms_none_are_bounded():
    delivery = after(*range(1, MOST_UNCONFIRMED + 100))
    delivery.answered(delivery.acknowledgements(), [])
    assert delivery.acknowledgements() == list(range(100, MOST_UNCONFIRMED + 100))


@given(st.integers(1, NUMBERS), st.lists(st.booleans(), max_size=50), st.sets(st.integers(0, 60)))
def test_every_notification_comes_is_had_again_or_is_counted(first, arrives, kept):
    numbers = [(first + i - 1) % NUMBERS + 1 for i in range(len(arrives) + 2)]
    delivery, came, lost = Delivery(), [], 0
    for i, number in enumerate(numbers):
        if 0 < i <= len(arrives) and not arrives[i - 1]:
            continue
        again, gone = delivery.missing(number, [numbers[k] for k in kept if k < len(numbers)])
        for each in [*again, number]:
            assert delivery.came(each)
        came += [*again, number]
        lost += gone
    assert came == [n for i, n in enumerate(numbers) if i in kept or not 0 < i <= len(arrives) or arrives[i - 1]]
    assert len(came) + lost == len(numbers)
