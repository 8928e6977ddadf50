"""Other nodes of the same name, as one that an earlier launch has left running."""

from __future__ import annotations

from collections.abc import Sequence


def namesake_problem(full_name: str, known: Sequence[str]) -> str:
    """Return that a node is not the only one of its name, and what to do; empty where it is.

    Args:
        full_name: of the node, absolute.
        known: full names of all nodes that have been discovered, itself included.
    """
    others = known.count(full_name) - 1
    if others < 1:
        return ""
    return (
        f"{others + 1} nodes are called {full_name}: calls, transitions and parameters may reach another one, with "
        "another map; end the one that an earlier start has left running (ros2 launch leaves its nodes when it is "
        "ended by SIGTERM), or give this one a name or namespace of its own; one that was killed is remembered for "
        "some seconds"
    )
