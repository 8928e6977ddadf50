"""The relocalizer node: messages in, answers out, whatever the middleware."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import (
    HfnetRosError,
    InputError,
    MessageError,
)
from hfnet_ros.messages import topics
from hfnet_ros.messages.diagnostics import NodeHealth
from hfnet_ros.messages.images import image_from_message
from hfnet_ros.messages.poses import InitialPose, initial_pose_from_message
from hfnet_ros.messages.topics import Service, Topic
from hfnet_ros.node.blas_threads import limit_blas_threads
from hfnet_ros.node.cameras import Cameras
from hfnet_ros.node.health import node_health
from hfnet_ros.node.health_recorder import HealthRecorder
from hfnet_ros.node.map_in_use import MapInUse
from hfnet_ros.node.map_odom_broadcast import MapOdomBroadcast
from hfnet_ros.node.odometry import NodeOdometry
from hfnet_ros.node.reporter import Reporter
from hfnet_ros.node.transport import Transport
from hfnet_ros.tracking.mailbox import ImageJob
from hfnet_ros.types import Answer, ImageArray

_logger = logging.getLogger(__name__)

_LONGEST_REQUEST_S = 3600.0  # Python cannot wait for as long as a double can say


class RelocalizerNode:
    """What the node does; a transport binds `subscriptions`, `services` and `timers` to a middleware.

    The life cycle is ROS 2's: `configure` loads the map, `activate` starts the engine in its own
    thread, `deactivate` ends that thread, `cleanup` drops the map. An engine that is not ready soon, as
    one that must be built, is prepared while the node is active: images and requests are refused then.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        decode_image: Callable[[Any], ImageArray] = image_from_message,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the parameters and the middleware; nothing is loaded yet.

        Args:
            config: the parameters.
            transport: the middleware.
            decode_image: how it decodes images.
            give_up: called by the localizing thread when the engine cannot be made ready after all:
                whoever leads the life cycle then deactivates the node, if it `has_failed` still.

        Raises:
            ConfigError: the camera's mounting cannot be read.
        """
        limit_blas_threads()
        self._config = config
        self._transport = transport
        self._recorder = HealthRecorder()
        self._cameras = Cameras(config, transport, decode_image, self._recorder, self._on_images)
        self._odometry = NodeOdometry(config, transport)
        self._reporter = Reporter(config, transport)
        self._broadcast = MapOdomBroadcast(config, transport)
        self._map_problem = ""
        self._changing = threading.Lock()  # one change of the parameters at a time
        self._map = MapInUse(
            config, self._odometry, self._on_answer, self._reporter.publish_map_info, give_up
        )

    @property
    def config(self) -> Config:
        """Return the parameters in force."""
        return self._config

    @property
    def has_failed(self) -> bool:
        """Tell whether the engine cannot be made ready, and the node is to be deactivated."""
        return self._map.has_failed

    # Life cycle

    def configure(self) -> None:
        """Load the map that is named in the parameters, if one is.

        Raises:
            MapFormatError: it cannot be used.
        """
        if not self._config.node.map:
            _logger.warning("no map is named (parameter node.map); waiting for a call of ~/load_map")
        self._map.configure(self._config.node.map)

    def activate(self) -> None:
        """Start the engine, and wait a little until it is ready; what takes longer goes on by itself.

        Raises:
            EngineError: the network cannot be loaded, and that was known soon.
        """
        self._recorder.clear()
        self._cameras.begin()
        self._map.activate()

    def deactivate(self) -> None:
        """Stop localizing and free the engine; what was known of the position is forgotten."""
        self._map.deactivate()

    def cleanup(self) -> None:
        """Drop map, calibration and odometry."""
        self._map.cleanup()
        self._map_problem = ""
        self._cameras.clear()
        self._odometry.clear()
        self._reporter.forget_map()

    def set_config(self, config: Config) -> None:
        """Take other parameters, those of the engine from the next activation on.

        Raises:
            ConfigError: the camera's mounting cannot be read; nothing was changed.
        """
        mountings = self._cameras.mountings(config, self._transport)
        with self._changing:
            if config.frames != self._config.frames or config.odometry != self._config.odometry:
                self._cameras.use_mountings(mountings)
            is_renamed = config.frames.map_frame != self._config.frames.map_frame
            self._config = config
            self._odometry.set_config(config)
            self._reporter.set_config(config)
            self._broadcast.set_config(config)
            self._map.set_config(config)
            served = self._map.served
            if is_renamed and served is not None and self._map.is_active:
                self._reporter.forget_map()
                self._reporter.publish_map_info(served)

    # What a transport binds

    def subscriptions(self) -> list[tuple[Topic, Callable[[Any], None]]]:
        """Return the topics to listen to while active, with what takes their messages."""
        wanted = [*self._cameras.subscriptions(), (topics.INITIAL_POSE, self.on_initial_pose)]
        if self._config.odometry.source in ("auto", "topic"):
            wanted.append((topics.ODOMETRY, self.on_odometry))
        return wanted

    def losses(self) -> dict[Topic, Callable[[int], None]]:
        """Return the topics of which a middleware that can tell is to tell how many more messages were lost."""
        return self._cameras.losses()

    def services(self) -> list[tuple[Service, Callable[[Any], Any]]]:
        """Return the services with what turns their requests into responses."""
        return [
            (topics.RELOCALIZE, self.on_relocalize),
            (topics.LOAD_MAP, self.on_load_map),
            (topics.TRIGGER, self.on_trigger),
            (topics.REINITIALIZE, self.on_reinitialize),
            (topics.NO_MOTION_UPDATE, self.on_no_motion_update),
        ]

    def timers(self) -> list[tuple[float, Callable[[], None]]]:
        """Return what is to be done regularly while configured: period in seconds, what."""
        timers = [(1.0 / self._config.node.diagnostics_rate_hz, self.on_diagnostics_timer)]
        if self._config.frames.publish_tf:
            timers.append((1.0 / self._config.frames.tf_rate_hz, self.on_tf_timer))
        return timers

    # Messages

    def on_odometry(self, message: Any) -> None:
        """Take a nav_msgs/Odometry."""
        self._odometry.take_message(message)

    def on_initial_pose(self, message: Any) -> None:
        """Take a hint about the robot's position; it directs the search and is never a pose."""
        try:
            self._take_hint(initial_pose_from_message(message))
        except (MessageError, InputError) as error:
            _logger.warning("initialpose ignored: %s", error)

    # Services

    def on_relocalize(self, request: Any) -> Any:
        """Localize the next image and answer when that is done (hfnet_ros/Relocalize)."""
        start = time.monotonic()
        served = self._map.served
        answer, problem = self._request(request.timeout, ignore_prior=request.ignore_prior)
        return self._reporter.relocalize_response(answer, problem, served, time.monotonic() - start)

    def on_trigger(self, _request: Any) -> Any:
        """Do the same for callers without this package's interfaces (std_srvs/Trigger)."""
        answer, problem = self._request(0.0, ignore_prior=False)
        return self._reporter.trigger_response(answer, problem)

    def on_no_motion_update(self, _request: Any) -> Any:
        """Localize the next image, as Nav2 asks of a localizer (std_srvs/Empty)."""
        answer, problem = self._request(0.0, ignore_prior=False)
        if answer is None:  # the response cannot say so
            _logger.warning("%s: %s", topics.NO_MOTION_UPDATE.name, problem)
        return self._transport.factory.make("std_srvs/srv/Empty_Response")

    def on_reinitialize(self, _request: Any) -> Any:
        """Forget the position and search the whole map (std_srvs/Empty, Nav2's name)."""
        live = self._map.live
        if live is not None:
            live.reinitialize()
            _logger.info("position forgotten on request; searching the whole map")
        else:
            _logger.warning("%s: %s", topics.REINITIALIZE.name, self._why_idle)
        return self._transport.factory.make("std_srvs/srv/Empty_Response")

    def on_load_map(self, request: Any) -> Any:
        """Replace the map; a bad one leaves the old one in service (hfnet_ros/LoadMap)."""
        problem = ""
        try:
            self._map.replace(request.path)
            self._map_problem = ""
        except HfnetRosError as error:
            self._map_problem = problem = str(error)
            served = self._map.served
            kept = f"; still using {served.path}" if served is not None else ""
            _logger.error("map not replaced: %s%s", problem, kept)
        return self._reporter.load_map_response(problem, self._map.served)

    # Timers

    def on_diagnostics_timer(self) -> None:
        """Publish diagnostics, and the map's points when somebody has begun to look."""
        self._odometry.poll()
        self._reporter.publish_diagnostics(self._health())
        served = self._map.served
        if served is not None and self._map.is_active:
            self._reporter.publish_map_points(served)

    def on_tf_timer(self) -> None:
        """Repeat map->odom with a fresh stamp while the position is known."""
        live, served = self._map.live, self._map.served
        if live is None or served is None:
            return
        self._odometry.poll()
        belief = live.belief_at(self._transport.now_ns())
        if belief is not None and belief.map_from_odom is not None:
            self._broadcast.send(belief.map_from_odom, self._reporter.map_frame(served))

    # What the above share

    def _take_hint(self, hint: InitialPose) -> None:
        live, served = self._map.live, self._map.served
        if live is None or served is None:
            raise InputError("no map is loaded")
        not_ready = self._map.not_ready
        if not_ready:
            raise InputError(not_ready)
        map_frame = self._reporter.map_frame(served)
        if hint.frame_id != map_frame:
            raise InputError(f"it is in frame '{hint.frame_id}', the map is '{map_frame}'")
        live.set_initial_pose(hint.map_from_base, hint.covariance, hint.stamp_ns or self._transport.now_ns())

    def _on_images(self, jobs: Sequence[ImageJob], image_ns: int | None) -> None:
        """Take images of one time, of several times that came together the oldest first; and the last one's stamp."""
        live = self._map.live
        if live is None:
            return
        self._odometry.poll(image_ns)
        if jobs:
            newest, reason = jobs[-1], self._map.refusal
            if not reason:
                live.offer(newest, num_older=len(jobs) - 1)
            elif live.refuse(newest, reason):
                self._cameras.note_mountings()
        due_s = self._cameras.due_s
        if due_s is not None:
            live.call_at(due_s, self._cameras.take_due)

    def _on_answer(self, answer: Answer) -> None:
        """Publish what became of an image; called by the localizing thread, or by that of a refused image."""
        served = self._map.served
        if served is None:
            return
        self._reporter.publish_answer(answer, served)
        self._recorder.note_answer(answer)

    def _request(self, timeout_s: float, *, ignore_prior: bool) -> tuple[Answer | None, str]:
        live, served = self._map.live, self._map.served
        if live is None:
            return None, self._why_idle
        timeout_s = (
            min(timeout_s, _LONGEST_REQUEST_S) if timeout_s > 0.0 else self._config.node.request_timeout_s
        )
        reason = self._map.refusal
        answer = live.refusal(reason) if reason else live.request(timeout_s, ignore_prior=ignore_prior)
        if answer is not None and self._map.served is served:
            return answer, ""
        if self._map.live is not live:
            return None, "the node was deactivated during the request"
        if self._map.served is not served:
            return None, "the map was replaced during the request; ask again"
        silence = self._cameras.silence(self._config)
        why = f"; no image comes on {silence}" if silence else ""
        return None, f"no image was answered within {timeout_s:g} s{why}"

    @property
    def _why_idle(self) -> str:
        """Return why no image is localized where nothing is there that could."""
        return "no map is loaded" if self._map.is_active else "the node is not active"

    def _health(self) -> NodeHealth:
        served = self._map.served
        rival = self._broadcast.rival(self._reporter.map_frame(served)) if served is not None else ""
        return node_health(
            self._config,
            self._transport,
            self._map,
            self._recorder,
            self._cameras.health(self._config),
            self._odometry,
            map_problem=self._map_problem,
            map_frame=self._reporter.map_frame,
            rival=rival,
        )
