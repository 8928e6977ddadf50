import threading

import pytest

from hfnet_ros.dds.lifecycle import (
    ACTIVATE,
    ACTIVE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    FINALIZED,
    INACTIVE,
    UNCONFIGURED,
    Lifecycle,
)
from hfnet_ros.errors import HfnetRosError, MapFormatError

ACTIONS = {CONFIGURE: "configure", ACTIVATE: "activate", DEACTIVATE: "deactivate", CLEANUP: "cleanup"}
WAY_TO = {UNCONFIGURED: [], INACTIVE: [CONFIGURE], ACTIVE: [CONFIGURE, ACTIVATE]}
END_OF = {
    (UNCONFIGURED, CONFIGURE): INACTIVE,
    (INACTIVE, ACTIVATE): ACTIVE,
    (INACTIVE, CLEANUP): UNCONFIGURED,
    (ACTIVE, DEACTIVATE): INACTIVE,
    (UNCONFIGURED, 5): FINALIZED,
    (INACTIVE, 6): FINALIZED,
    (ACTIVE, 7): FINALIZED,
}


class Recorder:
    """What a node does on transitions, with failures on demand."""

    def __init__(self):
        self.done = []
        self.errors = {}
        self.ended = threading.Event()

    def actions(self):
        return {number: lambda number=number: self.act(number) for number in ACTIONS}

    def act(self, number):
        if number in self.errors:
            raise self.errors[number]
        self.done.append(ACTIONS[number])


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def lifecycle(node, recorder):
    return Lifecycle(node, recorder.actions(), recorder.ended.set)


@pytest.fixture
def call(other):
    """Return a function that calls a service of the node as others do."""
    clients = {}

    def call(name, **fields):
        types = {
            "get_state": "lifecycle_msgs/srv/GetState",
            "change_state": "lifecycle_msgs/srv/ChangeState",
            "get_available_transitions": "lifecycle_msgs/srv/GetAvailableTransitions",
        }
        if name not in clients:
            clients[name] = other.create_client(f"/tested/{name}", types[name])
        request = other.messages.make(f"{types[name]}_Request", **fields)
        return clients[name].call(request, 60.0)

    return call


@pytest.fixture
def change(call, other):
    def change(number=0, label=""):
        wanted = other.messages.make("lifecycle_msgs/msg/Transition", id=number, label=label)
        return call("change_state", transition=wanted).success

    return change


def enter(lifecycle, recorder, state):
    for transition in WAY_TO[state]:
        lifecycle.change(transition)
    recorder.done.clear()


@pytest.mark.parametrize("state", WAY_TO)
@pytest.mark.parametrize("transition", [*ACTIONS, 5, 6, 7])
def test_transitions_start_where_ros_says(lifecycle, recorder, state, transition):
    enter(lifecycle, recorder, state)
    end = END_OF.get((state, transition))
    if end is None:
        with pytest.raises(HfnetRosError, match="expected"):
            lifecycle.change(transition)
        assert lifecycle.state == state
        assert recorder.done == []
    else:
        lifecycle.change(transition)
        assert lifecycle.state == end


@pytest.mark.parametrize(
    ("state", "done"),
    [(UNCONFIGURED, []), (INACTIVE, ["cleanup"]), (ACTIVE, ["deactivate", "cleanup"])],
)
def test_the_end_frees_everything_and_is_final(lifecycle, recorder, state, done):
    enter(lifecycle, recorder, state)
    lifecycle.end()
    lifecycle.end()
    assert recorder.done == done
    assert lifecycle.state == FINALIZED
    with pytest.raises(HfnetRosError, match="finalized"):
        lifecycle.change(CONFIGURE)


def test_the_end_comes_even_if_something_fails(lifecycle, recorder, caplog):
    enter(lifecycle, recorder, ACTIVE)
    recorder.errors[DEACTIVATE] = RuntimeError("stuck")
    lifecycle.end()
    assert recorder.done == ["cleanup"]
    assert lifecycle.state == FINALIZED
    assert "stuck" in caplog.text


def test_a_failure_leaves_the_state(lifecycle, recorder):
    recorder.errors[CONFIGURE] = MapFormatError("no such map")
    with pytest.raises(MapFormatError):
        lifecycle.change(CONFIGURE)
    assert lifecycle.state == UNCONFIGURED
    recorder.errors.clear()
    lifecycle.change(CONFIGURE)
    assert lifecycle.state == INACTIVE


@pytest.mark.parametrize(("state", "is_wanted"), [(ACTIVE, True), (ACTIVE, False), (INACTIVE, True)])
def test_a_transition_may_turn_out_to_be_unwanted(lifecycle, recorder, state, is_wanted):
    enter(lifecycle, recorder, state)
    lifecycle.change_if(DEACTIVATE, lambda: is_wanted)
    assert recorder.done == (["deactivate"] if state == ACTIVE and is_wanted else [])


def test_others_lead_the_node_through_its_life(lifecycle, recorder, call, change):
    assert call("get_state").current_state.label == "unconfigured"
    for number in (CONFIGURE, ACTIVATE, DEACTIVATE, ACTIVATE, DEACTIVATE, CLEANUP):
        assert change(number)
    assert recorder.done == [
        "configure", "activate", "deactivate", "activate", "deactivate", "cleanup",
    ]  # fmt: skip
    assert not change(ACTIVATE)
    state = call("get_state").current_state
    assert (state.id, state.label) == (UNCONFIGURED, "unconfigured")


def test_the_label_of_a_transition_goes_before_its_number(lifecycle, recorder, change):
    assert change(CLEANUP, "configure")
    assert change(0, "activate")
    assert recorder.done == ["configure", "activate"]
    assert not change(CLEANUP, "no such label")
    assert not change(99)
    assert lifecycle.state == ACTIVE


def test_available_transitions_are_those_of_the_state(lifecycle, recorder, call):
    enter(lifecycle, recorder, INACTIVE)
    described = call("get_available_transitions").available_transitions
    found = {(entry.transition.id, entry.transition.label, entry.goal_state.id) for entry in described}
    assert found == {
        (ACTIVATE, "activate", ACTIVE),
        (CLEANUP, "cleanup", UNCONFIGURED),
        (6, "shutdown", FINALIZED),
    }
    assert {entry.start_state.label for entry in described} == {"inactive"}


@pytest.mark.parametrize("error", [MapFormatError("no such map"), RuntimeError("no memory")])
def test_whoever_asks_for_what_fails_is_told(lifecycle, recorder, change, error, caplog):
    recorder.errors[CONFIGURE] = error
    assert not change(CONFIGURE)
    assert str(error) in caplog.text
    assert lifecycle.state == UNCONFIGURED


def test_a_shutdown_frees_everything_and_is_answered_before_the_end(lifecycle, recorder, change):
    enter(lifecycle, recorder, ACTIVE)
    assert change(0, "shutdown")
    assert recorder.done == ["deactivate", "cleanup"]
    assert recorder.ended.wait(60.0)


def test_a_shutdown_during_a_transition_follows_it(node, recorder, change):
    """By its label: it is another number in the state that the transition leads to."""
    begun, going_on = threading.Event(), threading.Event()
    actions = recorder.actions()
    activate = actions[ACTIVATE]
    actions[ACTIVATE] = lambda: (begun.set(), going_on.wait(60.0), activate())
    lifecycle = Lifecycle(node, actions, recorder.ended.set)
    lifecycle.change(CONFIGURE)
    activating = threading.Thread(target=lifecycle.change, args=(ACTIVATE,))
    activating.start()
    assert begun.wait(60.0)
    threading.Timer(0.3, going_on.set).start()  # when the request for the end is there
    assert change(0, "shutdown")
    activating.join(60.0)
    assert recorder.done == ["configure", "activate", "deactivate", "cleanup"]
    assert lifecycle.state == FINALIZED
