"""How often a plant usually speaks."""

import math

import numpy as np
import pytest

from uem.hardware_adapters.rhythm import Rhythm
from uem.twin_core.measurements import Samples

NAMES = tuple("abcdefgh")


@pytest.fixture
def plant():
    """A plant of eight meters: plant.at(time_s, "ab") when two of them were read, plant.usual_s() since then."""

    class Plant:
        def __init__(self):
            self.now_s = 0.0
            self.rhythm = Rhythm(lambda: self.now_s)

        def at(self, time_s, tags, names=NAMES):
            self.now_s = time_s
            tag = np.array([names.index(each) for each in tags], np.uint32)
            self.rhythm.follow(Samples(names, tag, np.zeros(len(tag), np.int64), tag.astype(float), tag))

        def polled(self, begin_s, rounds, every_s):
            """Each meter is read by itself, half a second after the one before."""
            for i in range(rounds):
                for k, name in enumerate(NAMES):
                    self.at(begin_s + i * every_s + 0.5 * k, name)

        def usual_s(self):
            return self.rhythm.usual_interval_s

    return Plant()


def test_nothing_is_usual_before_a_tag_came_twice(plant):
    assert math.isnan(plant.usual_s())
    plant.at(0.0, "")
    plant.at(1.0, "ab")
    plant.at(2.0, "cd")
    assert math.isnan(plant.usual_s())
    plant.at(6.0, "a")
    assert plant.usual_s() == 5.0


def test_meters_that_are_read_one_by_one_have_the_interval_of_their_rounds(plant):
    plant.polled(0.0, 3, every_s=10.0)
    assert plant.usual_s() == 10.0


def test_an_outage_is_not_usual(plant):
    plant.polled(0.0, 5, every_s=10.0)
    plant.polled(3600.0, 5, every_s=10.0)
    assert plant.usual_s() == 10.0


def test_what_a_plant_tells_most_often_counts(plant):
    for second in range(60):
        plant.at(float(second), "abc" if second % 30 == 0 else "a")
    assert plant.usual_s() == 1.0


def test_what_is_usual_stays_under_another_dictionary_of_names(plant):
    plant.polled(0.0, 2, every_s=10.0)
    plant.at(100.0, "xa", names=("x", "a"))
    assert plant.usual_s() == 10.0
    plant.at(110.0, "x", names=("x", "a"))
    assert plant.usual_s() == 10.0
