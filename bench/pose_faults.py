"""Are wrong poses of keyframes found? Injects each kind of fault into good poses, seeded, and counts.

    python bench/pose_faults.py --images DIR --poses FILE --camera FILE [--every 5] [--cases 20] [--good 20]
    python bench/pose_faults.py --apartment 3                # a generated one

Features are extracted once (--cache FILE keeps them) and pairs matched once; a fault changes poses
only. Pairs that wrong poses alone would choose show different things and are not matched. Jumps are
0.1 to 0.5 of the median distance to what the keyframe sees, or 5 to 30 deg; repeated and swapped
poses differ by at least 0.1 of it or 5 deg; a path slips where at least three pairs of images show
both sides. A pose counts as corrected within 0.07 of the distance and 2.5 deg. Nothing is asserted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from faults.injected import KINDS, Case
from faults.keyframes import GoodKeyframes, depths_of, own_turn_of, read_sequence
from threadpoolctl import threadpool_limits

from hfnet_ros.errors import PoseFaultError

_NEAR = 2  # keyframes by which the place of a slip may be missed


def verdict(seq: GoodKeyframes, case: Case) -> tuple[str, str]:
    """Return "found", "misattributed" or "missed", and what was said."""
    try:
        checked = seq.check(case.keyframes, case.poses)
    except PoseFaultError as error:
        right = error.fault == case.fault
        if right and case.place >= 0:
            right = all(abs(place - case.place) <= _NEAR for place in error.places)
        if right and case.amount is not None:
            least = 2.0 if case.fault == "mounting" else 0.15  # deg, keyframes
            right = abs(error.amount - case.amount) <= max(least, 0.1 * abs(case.amount))
        return ("found" if right else "misattributed"), str(error)
    named = {int(entry["name"]) for entry in checked.report["keyframes"]}
    drifts = checked.report.get("drifts", [])
    if case.fault == "slip" and any(f"between {case.place - 1} and {case.place} " in text for text in drifts):
        return "found", "warned of"
    if not named:
        return "missed", str(case.wrong or (case.place, case.amount))
    if named != case.wrong:
        return "misattributed", f"{sorted(case.wrong) or case.fault}: {checked.report['keyframes']}"
    true = seq.poses
    good = all(
        row not in checked.kept
        or (
            checked.map_from_camera[row].translation_to(true[row]) < 0.07 * seq.depths[row]
            and checked.map_from_camera[row].rotation_to(true[row]) < np.radians(2.5)
        )
        for row in case.wrong
    )
    left_out = len(case.wrong - set(checked.kept))
    return "found", "left out" if left_out else "corrected" if good else "corrected wrongly"


def complaint_of(seq: GoodKeyframes, part: Sequence[int]) -> str:
    """Return what is said of good poses, empty if nothing."""
    try:
        named = seq.check(part, [seq.poses[idx] for idx in part], is_good=True).report["keyframes"]
    except PoseFaultError as error:
        return str(error)
    return str(named) if named else ""


def count_complaints(seq: GoodKeyframes, num_parts: int) -> None:
    """Judge the whole and random parts of it with good poses."""
    rng = np.random.default_rng(0)
    parts = [list(range(len(seq.rows)))]
    while len(parts) <= num_parts:
        step, length = int(rng.integers(1, 4)), int(rng.integers(15, len(seq.rows) + 1))
        start = int(rng.integers(0, max(1, len(seq.rows) - length)))
        part = list(range(start, min(start + length, len(seq.rows)), step))
        if len(part) >= 8:
            parts.append(part)
    told = [(part, complaint_of(seq, part)) for part in parts]
    complaints = [f"{part[0]}..{part[-1]} by {part[1] - part[0]}: {text}" for part, text in told if text]
    print(f"| good | {len(parts)} | {len(complaints)} complain | |", *complaints, sep="\n  ", flush=True)


def main() -> None:
    """Print a table of kinds and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--poses", type=Path)
    parser.add_argument("--camera", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--apartment", type=int, help="seed of a generated apartment, instead of images")
    parser.add_argument("--cases", type=int, default=20, help="of each kind")
    parser.add_argument("--good", type=int, default=20, help="parts of the sequence judged as they are")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--cache", type=Path, help=".npz with the features, written if it does not exist")
    parser.add_argument("--verbose", action="store_true", help="print every case that is not found")
    options = parser.parse_args()
    with threadpool_limits(1):
        seq = read_sequence(options)
        whole = list(range(len(seq.rows)))
        seq.check(whole, seq.poses, is_good=True)
        seq.depths, seq.own_turn = depths_of(seq), own_turn_of(seq)
        own_deg = np.degrees(np.linalg.norm(seq.own_turn.rotvec))
        print(
            f"{len(whole)} keyframes, depth {np.median(seq.depths):.2f}, poses of a camera turned by {own_deg:.1f} deg"
        )
        count_complaints(seq, options.good)
        for kind in options.kinds:
            verdicts, told = Counter(), Counter()
            for case_idx in range(options.cases):
                rng = np.random.default_rng([case_idx, list(KINDS).index(kind)])
                said, detail = verdict(seq, KINDS[kind](seq, rng))
                verdicts[said] += 1
                if said == "found":
                    told[detail if len(detail) < 20 else "refused"] += 1
                elif options.verbose:
                    print(f"  {said}: {detail}")
            counts = ", ".join(f"{count} {what}" for what, count in told.items())
            print(
                f"| {kind} | {options.cases} | {verdicts['found']} found, {verdicts['misattributed']} misattributed, "
                f"{verdicts['missed']} missed | {counts} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
