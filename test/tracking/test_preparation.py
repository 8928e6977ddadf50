import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.tracking.preparation import Pending, Preparation, PreparationStoppedError


@pytest.fixture
def clock():
    """A clock that a test sets: clock[0] = seconds."""
    return [100.0]


@pytest.fixture
def preparation(clock):
    return Preparation(lambda: clock[0])


def test_what_is_opened_is_pending_from_begin_to_end(preparation, clock):
    assert preparation.pending is None
    with preparation.opening():
        clock[0] = 103.0
        assert preparation.pending == Pending(3.0, "")
        preparation.report("building, 40 %")
        assert preparation.pending == Pending(3.0, "building, 40 %")
        preparation.report("")  # built, but not loaded yet
        assert preparation.pending == Pending(3.0, "")
    assert preparation.pending is None


def test_what_could_not_be_opened_is_not_pending(preparation):
    with pytest.raises(EngineError), preparation.opening():
        preparation.report("building")
        raise EngineError("out of memory")
    assert preparation.pending is None


def test_an_engine_that_is_built_in_between_is_pending_while_it_reports(preparation, clock):
    preparation.report("building")
    clock[0] = 101.5
    preparation.report("building, 1 %")
    assert preparation.pending == Pending(1.5, "building, 1 %")
    preparation.report("")
    assert preparation.pending is None


def test_the_next_report_after_calling_off_raises(preparation):
    preparation.call_off()
    preparation.report("")  # the engine is there: to raise now would lose it
    with pytest.raises(PreparationStoppedError):
        preparation.report("building, 2 %")


def test_calling_off_makes_nobody_try_another_backend():
    assert not issubclass(PreparationStoppedError, EngineError)


@pytest.mark.parametrize(
    ("pending", "text"),
    [
        (Pending(35.4, "building, 40 %"), "building, 40 %; 35 s so far"),
        (Pending(0.0, ""), "loading the network; 0 s so far"),
    ],
)
def test_it_can_be_read(pending, text):
    assert str(pending) == text
