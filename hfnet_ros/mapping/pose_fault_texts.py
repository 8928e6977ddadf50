"""What is said of wrong poses: where, by how much, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.keyframe_faults import KeyframeFault, Slip

_NAMES_SHOWN = 5


def slip_text(slips: Sequence[Slip], names: Sequence[str]) -> str:
    """Return why a path that slips is refused."""
    places = "; ".join(_place_text(slip, names) for slip in slips)
    return (
        f"the given path slips {places}: the parts before and after do not fit each other. Correct the trajectory, or "
        "build a map of each part and join them with `map merge --align`"
    )


def drift_text(slip: Slip, names: Sequence[str]) -> str:
    """Return the warning of a place where the path slips by little, or drifts."""
    return (
        f"the given path is off {_place_text(slip, names)}: it drifts there within few keyframes, or slips by little. "
        "The map is built, and answers near there may be off by as much: correct the trajectory, or take keyframes "
        "closer together"
    )


def lookalike_keyframe_text(fault: KeyframeFault, given: Sequence[Rigid3], names: Sequence[str]) -> str:
    """Return the warning of a keyframe that may only look like the place where the others put it."""
    assert fault.placed is not None
    distance = given[fault.keyframe].translation_to(fault.placed)
    return (
        f"{names[fault.keyframe]} looks like a place {distance:.2f} m from its given pose, off the path: either both "
        "look alike, and answers there will be refused, or its pose is wrong: then correct it or leave it out"
    )


def jump_text(place: int, num_pairs: int, names: Sequence[str]) -> str:
    """Return the warning of a place that all pairs of images across it contradict."""
    return (
        f"all {num_pairs} pairs of images that hold {names[place - 1]} and those before it together with "
        f"{names[place]} and those after it contradict the given poses: the path may jump there, or both look alike; "
        "look at the trajectory there, and give images closer together"
    )


def lookalike_text(slip: Slip, names: Sequence[str]) -> str:
    """Return the warning of two places that may look alike."""
    return (
        f"what {names[slip.keyframe - 1]} and those before it see looks like what {names[slip.keyframe]} and those "
        f"after it see, {slip.distance:.2f} m apart by the given poses ({slip.num_keyframes} keyframes say so): either "
        "two places look alike, and answers there will be refused, or the given path slips there: then correct it"
    )


def fault_text(fault: KeyframeFault, given: Sequence[Rigid3], names: Sequence[str]) -> str:
    """Return the warning of a keyframe that was put right or left out."""
    entry = fault_entry(fault, given, names)
    off = (
        ""
        if fault.placed is None
        else f", off by {entry['distance_m']:.2f} m and {entry['angle_deg']:.1f} deg"
    )
    return f"{entry['name']}: {entry['fault']}{off}; {entry['remedy']}"


def fault_entry(fault: KeyframeFault, given: Sequence[Rigid3], names: Sequence[str]) -> dict[str, Any]:
    """Return the same as JSON values."""
    if fault.like is None:
        what = "wrong pose"
    else:
        what = f"{'pose swapped with' if fault.is_swapped else 'pose repeats'} {names[fault.like]}"
    entry: dict[str, Any] = {"name": names[fault.keyframe], "fault": what}
    if fault.placed is None:
        return entry | {"remedy": "left out"}
    before = given[fault.keyframe]
    return entry | {
        "distance_m": round(before.translation_to(fault.placed), 4),
        "angle_deg": round(float(np.degrees(before.rotation_to(fault.placed))), 3),
        "num_points": fault.num_points,
        "remedy": "corrected",
    }


def names_of(keyframes: Sequence[int], names: Sequence[str]) -> str:
    """Return the names of the first few."""
    shown = [names[keyframe] for keyframe in keyframes[:_NAMES_SHOWN]]
    return ", ".join(shown) + (", ..." if len(keyframes) > _NAMES_SHOWN else "")


def _place_text(slip: Slip, names: Sequence[str]) -> str:
    return (
        f"between {names[slip.keyframe - 1]} and {names[slip.keyframe]} by {slip.distance:.2f} m and "
        f"{np.degrees(slip.angle):.1f} deg ({slip.num_keyframes} keyframes around it say so)"
    )
