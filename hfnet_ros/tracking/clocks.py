"""Why there is no odometry at the stamp of an image: a gap, an end, or another clock."""

from __future__ import annotations

from hfnet_ros.tracking.odometry import Odometry

_FAR_S = 1.0  # later than any odometry is that belongs to the image


class ClockComparison:
    """Compares the stamps of images with those of odometry, image by image."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._newest_ns: int | None = None

    def explain(self, stamp_ns: int, odometry: Odometry) -> str:
        """Return why there is no pose at the stamp of an image, by how much it misses, and what to do."""
        span_ns, before = odometry.span_ns, self._newest_ns
        if span_ns is None:
            return "none has come"
        oldest_ns, newest_ns = span_ns
        self._newest_ns = newest_ns
        after_s, early_s = 1e-9 * (stamp_ns - newest_ns), 1e-9 * (oldest_ns - stamp_ns)
        if early_s > _FAR_S:
            return (
                f"another clock: the image is stamped {early_s:.3f} s before the oldest odometry that is remembered; "
                "synchronize the clocks of camera and odometry"
            )
        if after_s > _FAR_S:
            if before is not None and newest_ns > before:
                return (
                    f"another clock: odometry comes, stamped {after_s:.3f} s before the image; synchronize the clocks "
                    "of camera and odometry"
                )
            return f"the newest is {after_s:.3f} s older: it has stopped, or another clock stamps it"
        latest = odometry.last_before(stamp_ns)
        if latest is None:
            return f"the first is {early_s:.3f} s younger"
        older = f"the last before is {1e-9 * (stamp_ns - latest.stamp_ns):.3f} s older"
        if odometry.held_back:
            return f"{older}; {odometry.held_back}: it is used when the next one agrees"
        earlier = odometry.last_before(latest.stamp_ns - 1)
        if earlier is None or odometry.sample_at((earlier.stamp_ns + latest.stamp_ns) // 2) is not None:
            if after_s <= 0.0 or before is None or newest_ns <= before:
                return older
            return (
                f"{older}, and more of it comes: that late; raise odometry.wait_s beyond that, or synchronize the "
                "clocks of camera and odometry"
            )
        apart_s = 1e-9 * (latest.stamp_ns - earlier.stamp_ns)
        return (
            f"{older}, and odometry comes {apart_s:.3f} s apart, more than odometry.max_gap_s bridges; let it come "
            "more often, or raise that"
        )
