"""Whatever a guarded function does, and whenever its time is up, what comes after it runs undisturbed."""

import random
import sys
import time

import pytest

from transformer_lab.exercises.guard import TimeIsUp, within_limits


@pytest.fixture
def threads_change_often():
    """So that a stop of a thousandth of a second comes near its time, at any step of either side."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def busy(seconds: float) -> str:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return "done"


def test_what_the_function_returns_or_raises_comes_back():
    assert within_limits(lambda: busy(0)) == "done"
    with pytest.raises(ZeroDivisionError):
        within_limits(lambda: 1 / 0)


def test_a_stop_never_comes_late(threads_change_often):
    """The function ends in just the time that it has: a stop comes during it or not at all."""
    random.seed(0)
    stopped = 0
    for _ in range(2000):
        try:
            assert within_limits(lambda: busy(random.uniform(0.0005, 0.0015)), seconds=0.001) == "done"
        except TimeIsUp:
            stopped += 1
        for _ in range(50):
            str(stopped)  # here it would come
    assert stopped


def test_what_swallows_a_stop_is_stopped_again():
    swallowed = []

    def never_ends():
        while True:
            try:
                busy(0.1)
            except TimeIsUp as error:
                swallowed.append(error)
                if len(swallowed) == 3:
                    raise

    with pytest.raises(TimeIsUp):
        within_limits(never_ends, seconds=0.01)
