"""Odometry from a topic or from TF, whichever there is."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import InputError, MessageError, TransformError
from hfnet_ros.messages.poses import odometry_from_message
from hfnet_ros.messages.topics import ODOMETRY
from hfnet_ros.node.silence import Silence, UnheardTransforms
from hfnet_ros.node.transport import Transport
from hfnet_ros.tracking.odometry import OdometrySample, TransformHistory

_logger = logging.getLogger(__name__)

_NS_PER_S = 1_000_000_000
_POLL_S = 0.005  # while an image waits for TF
_SILENT_S = 5.0  # between two lines about what may be wrong with every message


class NodeOdometry:
    """Feeds a history of odom->base; an `Odometry` for the relocalizer.

    With source `auto` TF is preferred, because map->odom must fit the odom->base that others see
    there; until TF has it, the topic serves.
    """

    def __init__(self, config: Config, transport: Transport) -> None:
        """Take the parameters and where to look transforms up."""
        self._config = config
        self._transport = transport
        self._history = TransformHistory(config.odometry)
        self._lock = threading.Lock()
        self._used = ""
        self._problem = ""
        self._missing = ""  # in TF
        self._has_message = False
        self._silence, self._unheard = Silence(ODOMETRY, transport), UnheardTransforms(transport)
        self._silent_until_s = 0.0

    @property
    def used(self) -> str:
        """Return where odometry comes from now: `tf`, `topic` or nothing."""
        return self._used

    @property
    def problem(self) -> str:
        """Return what is wrong with it, if anything."""
        return self._problem

    def explain_silence(self) -> str:
        """Return why none has come, of TF and of the topic as far as they are listened to."""
        source, frames = self._config.odometry.source, self._config.frames
        reasons = []
        if source in ("auto", "tf"):
            missing = (
                self._missing or "not looked up yet" if frames.base_frame else "frames.base_frame is empty"
            )
            by = "frames.odom_frame and frames.base_frame say which frames"
            reasons.append(f"in TF {self._unheard.beside(f'{missing} ({by})')}")
        if source in ("auto", "topic") and not self._has_message:
            reasons.append(self._silence.explain())
        return "; ".join(reasons)

    @property
    def doubt(self) -> str:
        """Return what may be wrong with odometry though it is used."""
        if not (swings := self._history.swings):
            return ""
        frames = self._config.frames
        told = f"poses jump back and forth by {swings}, as where two nodes"
        if self._used == "tf":
            return (
                f"{told} broadcast {frames.odom_frame}->{frames.base_frame}; keep one "
                "(`ros2 run tf2_tools view_frames` names them)"
            )
        name = self._transport.resolved(ODOMETRY)
        return f"{told} publish on {name}; keep one (`ros2 topic info -v {name}` names them)"

    @property
    def newest_stamp_ns(self) -> int | None:
        """Return the time of the newest pose."""
        newest = self._history.latest()
        return newest.stamp_ns if newest is not None else None

    def set_config(self, config: Config) -> None:
        """Use other parameters; poses are kept unless they would be taken or kept otherwise."""
        with self._lock:
            if _memory(config) != _memory(self._config):
                self._history = TransformHistory(config.odometry)
                self._used = ""
            self._config = config

    def clear(self) -> None:
        """Forget all poses."""
        with self._lock:
            self._history.clear()
            self._used, self._problem, self._missing, self._has_message = "", "", "", False

    def take_message(self, message: Any) -> None:
        """Take a nav_msgs/Odometry; one that cannot be used is a `problem`."""
        with self._lock:
            if self._config.odometry.source not in ("auto", "topic") or self._used == "tf":
                return
            self._has_message = True
            try:
                sample = odometry_from_message(message)
                self._check_frames(sample.odom_frame, sample.base_frame)
                self._history.add(sample.stamp_ns, sample.odom_from_base)
            except (MessageError, InputError) as error:
                self._note(str(error))
                return
            self._used, self._problem = "topic", ""

    def poll(self, image_ns: int | None = None) -> None:
        """Take the newest odom->base from TF; called when an image comes and when the position is asked for.

        A timer would cost an idle node more of a core than all else it does. What is longer ago than is interpolated
        TF knows still: that around the image is taken before the newest.

        Args:
            image_ns: stamp of the image that has come; None without one.
        """
        source, frames = self._config.odometry.source, self._config.frames
        if source not in ("auto", "tf") or not frames.base_frame:
            return
        try:
            stamp_ns, odom_from_base = self._transport.look_up_transform(
                frames.odom_frame, frames.base_frame, None
            )
        except TransformError as error:
            self._missing = str(error)
            if source == "tf" or self._used == "tf":
                self._note(str(error))
            return
        if stamp_ns == 0:
            self._note(
                f"'{frames.base_frame}' is fixed in '{frames.odom_frame}', so that TF says nothing of motion; "
                "publish it as a moving transform or set odometry.source to none"
            )
            return
        with self._lock:
            if self._used == "topic":
                _logger.info("odometry is in TF now; the topic is not used any more")
                self._history.clear()
            self._used = "tf"
            newest_ns, gap_ns = self.newest_stamp_ns, round(self._config.odometry.max_gap_s * _NS_PER_S)
            if image_ns and newest_ns and stamp_ns - newest_ns > gap_ns:
                # Around it, too: other cameras take theirs a little before or after.
                for near_ns in range(image_ns - gap_ns // 2, min(image_ns + gap_ns, stamp_ns), gap_ns // 2):
                    self._take_at(near_ns)
            try:
                self._history.add(stamp_ns, odom_from_base)
                self._problem = ""
            except InputError as error:
                self._note(str(error))

    # What the relocalizer asks

    @property
    def is_expected(self) -> bool:
        """Tell whether a missing pose is a fault, and not how this robot is built."""
        return self._config.odometry.source != "none" and self._history.is_expected

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Return the stamps of the oldest and the newest pose that is remembered; None if there is none."""
        return self._history.span_ns

    @property
    def held_back(self) -> str:
        """Why the newest pose is not used unless the next one agrees with it, in words; empty where it is used."""
        return self._history.held_back

    def sample_at(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time; None where it would have to be guessed."""
        return self._history.sample_at(stamp_ns)

    def last_before(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time, or else the newest one before it; None if there is none."""
        return self._history.last_before(stamp_ns)

    def wait_for(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until poses reach a time; return at once where none can be expected."""
        if self._used != "tf":
            return self._history.wait_for(stamp_ns, timeout_s)
        deadline_s = time.monotonic() + timeout_s
        while not self._take_at(stamp_ns):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0.0:
                return False
            time.sleep(min(_POLL_S, left_s))
        return True

    def _take_at(self, stamp_ns: int) -> bool:
        """Take odom->base of exactly a time from TF, unless newer ones are there already."""
        newest_ns = self.newest_stamp_ns
        if newest_ns is not None and newest_ns >= stamp_ns:
            return True
        frames = self._config.frames
        try:
            _, odom_from_base = self._transport.look_up_transform(
                frames.odom_frame, frames.base_frame, stamp_ns
            )
            return self._history.add(stamp_ns, odom_from_base)
        except (TransformError, InputError):
            return False

    def _check_frames(self, odom_frame: str, base_frame: str) -> None:
        frames = self._config.frames
        if odom_frame != frames.odom_frame or base_frame != (frames.base_frame or base_frame):
            raise MessageError(
                f"odometry is of '{base_frame}' in '{odom_frame}', expected '{frames.base_frame}' in "
                f"'{frames.odom_frame}'; set frames.base_frame and frames.odom_frame"
            )

    def _note(self, problem: str) -> None:
        now_s = time.monotonic()
        if problem != self._problem and now_s >= self._silent_until_s:
            _logger.warning("odometry not used: %s", problem)
            self._silent_until_s = now_s + _SILENT_S
        self._problem = problem


def _memory(config: Config) -> tuple[object, ...]:
    """Return the parameters that say which poses are remembered."""
    odometry, frames = config.odometry, config.frames
    return odometry.source, odometry.history_s, odometry.max_gap_s, frames.odom_frame, frames.base_frame
