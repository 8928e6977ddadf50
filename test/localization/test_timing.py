"""Time by stage."""

import pytest

from hfnet_ros.localization.timing import StageClock


def test_the_clock_adds_up_stages_even_when_they_fail(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 10.0, 14.0, 20.0, 21.0, 50.0])
    monkeypatch.setattr("hfnet_ros.localization.timing.time.perf_counter", lambda: next(ticks))
    clock = StageClock()
    with clock.stage("match"):
        pass
    with clock.stage("match"):
        pass
    with pytest.raises(RuntimeError), clock.stage("pose"):
        raise RuntimeError
    assert clock.seconds() == {"extract": 0.0, "retrieve": 0.0, "match": 6.0, "pose": 1.0, "total": 50.0}
