"""What the node knows of the images of a camera, and what is good or bad about them."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.messages.findings import Finding, Level, complaint, number

_ANOTHER_CLOCK_S = 1.0
_FEW_GROUPS = 0.5
_MANY_LOST = 0.1


@dataclass(frozen=True, slots=True)
class ViewHealth:
    """How a camera does among several.

    Attributes:
        delay_s: how much later its images come after their stamps than those of most cameras; None where unknown.
        max_delay_s: delay, or lead, from which its images do not come together with the others'.
        group_share: part of the last groups of images that has one of it; None before the first.
        picture_error: why its images show nothing new; empty if they do.
        contradiction: what its view contradicts for some time now; empty if nothing.
        unproven: why nobody knows whether it does; empty if somebody does.
        mounting: how far its views are off against the others'; empty where that is not known.
        is_askew: that is no chance.
        num_keypoints: in its last image that was asked; None before the first.
        num_matches: likewise.
        num_inliers: likewise.
        problem: why it did not help last time; empty if it did.
    """

    delay_s: float | None = None
    max_delay_s: float = 0.1
    group_share: float | None = None
    picture_error: str = ""
    contradiction: str = ""
    unproven: str = ""
    mounting: str = ""
    is_askew: bool = False
    num_keypoints: int | None = None
    num_matches: int | None = None
    num_inliers: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImageHealth:
    """What comes from a camera.

    Attributes:
        camera: its name; empty where there is one.
        num_lost: messages that did not arrive whole, by what the middleware tells; Cyclone DDS tells nothing.
        lost_share: these as part of all that were sent, last minute; None where none was lost.
        age_s: since the last image message; None before the first.
        silence: who publishes them, and how, where none comes.
        timeout_s: age that is an error.
        rate_hz: of image messages; None where unknown.
        size_wh: of the last image, px.
        num_refused: images that could not be used, since activation.
        last_error: why the last image could not be used; empty if it could.
        camera_info_error: why there is no calibration; empty if there is one.
        extrinsic_error: why base_from_camera is unknown; empty if it is known.
        clock_error: how stamps and the node's time disagree; empty if they do not.
        doubts: what is doubtful about calibration, mounting and map, one sentence each.
        superseded_share: part of the images replaced in the mailbox by newer ones, last minute.
        among: how it does among several cameras; None where there is one.
    """

    camera: str = ""
    topic: str = ""
    num_received: int = 0
    num_lost: int = 0
    lost_share: float | None = None
    age_s: float | None = None
    silence: str = ""
    timeout_s: float = 2.0
    rate_hz: float | None = None
    size_wh: tuple[int, int] | None = None
    num_refused: int = 0
    last_error: str = ""
    camera_info_error: str = "none received"
    extrinsic_error: str = "not looked up yet"
    clock_error: str = ""
    doubts: tuple[str, ...] = ()
    superseded_share: float | None = None
    among: ViewHealth | None = None

    @property
    def is_silent(self) -> bool:
        """Tell whether no image comes."""
        return self.age_s is None or not self.age_s <= self.timeout_s


def of_images(now: ImageHealth) -> list[Finding]:
    """Return what there is to say of one camera."""
    size = f"{now.size_wh[0]}x{now.size_wh[1]}" if now.size_wh else ""
    return [
        Finding("topic", now.topic),
        Finding("images received", str(now.num_received)),
        _images_lost(now),
        _image_age(now),
        Finding("rate (Hz)", number(now.rate_hz, 1)),
        Finding("size (px)", size),
        Finding("images refused", str(now.num_refused)),
        complaint("last image error", now.last_error, Level.WARN, "the last image could not be used"),
        complaint("camera info", now.camera_info_error, Level.ERROR, "no calibration", good="received"),
        complaint("camera mounting", now.extrinsic_error, Level.ERROR, "base to camera", good="known"),
        complaint("clock", now.clock_error, Level.WARN, "stamps", good="agrees" if now.num_received else ""),
        complaint("doubts", "; ".join(now.doubts), Level.WARN, "doubtful"),
        Finding("superseded share", number(now.superseded_share, 3)),
        *(_of_view(now.among, is_silent=now.is_silent) if now.among is not None else ()),
    ]


def _of_view(now: ViewHealth, *, is_silent: bool) -> list[Finding]:
    shows = "" if now.num_keypoints is None else "something new"
    agrees = "" if now.num_keypoints is None else now.unproven or "none"
    return [
        _delay(now),
        _group_share(now, is_explained=is_silent or _is_delayed(now)),
        complaint("picture", now.picture_error, Level.WARN, "the picture is of no use", good=shows),
        complaint("contradiction", now.contradiction, Level.WARN, "its view", good=agrees),
        _mounting(now),
        Finding("keypoints", _count(now.num_keypoints)),
        Finding("matches", _count(now.num_matches)),
        Finding("inliers", _count(now.num_inliers)),
        Finding("last view problem", now.problem),
    ]


def _mounting(now: ViewHealth) -> Finding:
    key = "mounting by views"
    if not now.is_askew:
        return Finding(key, now.mounting)
    return Finding(key, now.mounting, Level.WARN, f"against the other cameras it is {now.mounting}")


def _is_delayed(now: ViewHealth) -> bool:
    return now.delay_s is not None and abs(now.delay_s) > now.max_delay_s


def _delay(now: ViewHealth) -> Finding:
    value = number(now.delay_s, 3)
    if now.delay_s is None or not _is_delayed(now):
        return Finding("delay (s)", value)
    side = "behind" if now.delay_s > 0.0 else "ahead of"
    off = f"{abs(now.delay_s):.2f} s {side} the other cameras'"
    if abs(now.delay_s) > _ANOTHER_CLOCK_S:
        sentence = f"its stamps are {off}: another clock?"
    else:
        sentence = f"its images come {off}, expected {now.max_delay_s:g} s at most (cameras.sync_wait_s)"
    return Finding("delay (s)", value, Level.WARN, f"{sentence}; it is left out")


def _group_share(now: ViewHealth, *, is_explained: bool) -> Finding:
    key, value = "in groups (share)", number(now.group_share, 2)
    if now.group_share is None or now.group_share >= _FEW_GROUPS or is_explained:
        return Finding(key, value)
    return Finding(
        key,
        value,
        Level.WARN,
        f"only a share of {value} of the last groups has an image of it: others are not of its time; trigger the "
        "cameras together, or raise cameras.sync_tolerance_s",
    )


def _count(number_of: int | None) -> str:
    return "" if number_of is None else str(number_of)


def _images_lost(now: ImageHealth) -> Finding:
    key, value = "images lost", str(now.num_lost or "")
    if now.lost_share is None or now.lost_share < _MANY_LOST:
        return Finding(key, value)
    return Finding(
        key,
        value,
        Level.WARN,
        f"{100.0 * now.lost_share:.0f} % of the images of the last minute were lost on the way, as large ones are "
        "where the camera's driver or this node runs without config/fastdds.xml",
    )


def _image_age(now: ImageHealth) -> Finding:
    value, silence = number(now.age_s, 2), now.silence or now.topic
    if now.age_s is None:
        return Finding("image age (s)", value, Level.ERROR, f"no image has come on {silence}")
    if now.is_silent:
        sentence = f"no image for {now.age_s:.1f} s, expected {now.timeout_s:g} s at most, on {silence}"
        return Finding("image age (s)", value, Level.ERROR, sentence)
    return Finding("image age (s)", value)
