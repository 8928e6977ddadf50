"""Each fault of bench/soak.py once, in memory: named, no wrong pose, soon over."""

import numpy as np
import pytest
from relocalizer_rigs import MemoryRig
from soak import Soak
from soak_faults import FAULTS, Robot


@pytest.fixture(params=["topic", "tf"])
def soak(request, room_walk, room_map, node_parameters):
    changes = {"odometry__source": request.param, "odometry__wait_s": 0.0, "node__diagnostics_rate_hz": 0.1}
    rig = MemoryRig(room_walk, room_map, node_parameters(room_map, **changes))
    yield Soak(Robot(rig, room_walk), np.random.default_rng(0))
    rig.close()


@pytest.mark.slow
def test_every_fault_is_named_and_over_soon(soak):
    source = "tf" if soak.robot.by_tf else "topic"
    # Over TF only what concerns odometry: the rest is the same.
    faults = [f for f in FAULTS if f.odometry in ("", source) and (source == "topic" or "odometry" in f.name)]
    assert soak.until_accepted(20) < 20
    for fault in faults:
        soak.meet(fault)
        soak.forget()
    for fault in faults:
        tally = soak.tallies[fault.name]
        assert tally.unnamed == 0, (fault.name, tally.said)
        assert tally.recovery[0] <= fault.recovers_in, (fault.name, tally.recovery)
    assert soak.wrong_poses == 0
    assert soak.tracebacks == []
