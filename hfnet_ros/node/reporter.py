"""What the node says: poses, status, pictures, answers of services."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages import topics
from hfnet_ros.messages.diagnostics import NodeHealth, diagnostics_message
from hfnet_ros.messages.headers import plain_frame_id
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import pose_with_covariance_to_message, transform_to_message
from hfnet_ros.messages.status import map_info_message, outcome_word, reason_of, status_message
from hfnet_ros.messages.visuals import (
    draw_debug_image,
    draw_debug_images,
    map_points_message,
    matches_message,
)
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.node.transport import Transport
from hfnet_ros.types import Answer, Relocalization, Verdict

_logger = logging.getLogger(__name__)


class Reporter:
    """Turns answers into messages and publishes them; pictures only for those who look."""

    def __init__(self, config: Config, transport: Transport) -> None:
        """Take the parameters and where to publish."""
        self._config = config
        self._transport = transport
        self._points_shown: Callable[[], ServedMap | None] = lambda: None  # as long as the map is in use
        self._told: tuple[Callable[[], ServedMap | None], str] = (lambda: None, "")

    def set_config(self, config: Config) -> None:
        """Use other parameters from the next message on."""
        self._config = config

    def map_frame(self, served: ServedMap) -> str:
        """Return the name of the map's frame: the parameter's, else the map's own."""
        return self._config.frames.map_frame or plain_frame_id(served.model.frame_id)

    def drawing_frame(self, served: ServedMap) -> str:
        """Return the frame of what is drawn: the map's, or where coordinates are large, one in its middle."""
        return self.map_frame(served) + ("_origin" if served.drawing_origin.any() else "")

    def publish_answer(self, answer: Answer, served: ServedMap) -> None:
        """Publish the pose if the robot may use it, the status always, pictures on demand.

        Before that, which maps a set consists of now, if it was changed since that was said.
        """
        relocalization = answer.relocalization
        if self._told[0]() is served and self._told[1] != served.digest_in_use:
            self.forget_map()
            self.publish_map_info(served)
        if relocalization is not None and _is_accepted(relocalization):
            pose = self._pose_message(relocalization, served)
            if pose is not None:
                self._transport.publish(topics.POSE, pose)
        self._transport.publish(topics.STATUS, self._status_message(answer, served))
        if relocalization is not None:
            self._publish_pictures(answer, relocalization, served)

    def publish_map_info(self, served: ServedMap) -> None:
        """Say which map is in use."""
        self._told = weakref.ref(served), served.digest_in_use
        self._transport.publish(topics.MAP_INFO, self._map_info_message(served))
        origin, factory = served.drawing_origin, self._transport.factory
        if origin.any():
            transform = transform_to_message(
                factory,
                Rigid3(np.eye(3), origin),
                self._transport.now_ns(),
                self.map_frame(served),
                self.drawing_frame(served),
            )
            message = factory.make("tf2_msgs/msg/TFMessage", transforms=[transform])
            self._transport.publish(topics.TF_STATIC, message)

    def publish_map_points(self, served: ServedMap) -> None:
        """Publish the map's landmarks once per map, as soon as somebody listens."""
        if self._points_shown() is served or not self._transport.has_subscribers(topics.MAP_POINTS):
            return
        points = served.model.points
        colors = points.landmark_colors
        self._transport.publish(
            topics.MAP_POINTS,
            map_points_message(
                self._transport.factory,
                points.landmark_xyz,
                np.full(points.landmark_xyz.shape, 255, np.uint8) if colors is None else colors,
                stamp_ns=self._transport.now_ns(),
                frame_id=self.drawing_frame(served),
                origin=served.drawing_origin,
            ),
        )
        self._points_shown = weakref.ref(served)

    def forget_map(self) -> None:
        """Let go of the map whose landmarks were published."""
        self._points_shown = lambda: None

    def publish_diagnostics(self, health: NodeHealth) -> None:
        """Publish how the node is."""
        message = diagnostics_message(self._transport.factory, health, stamp_ns=self._transport.now_ns())
        self._transport.publish(topics.DIAGNOSTICS, message)

    # Answers of services

    def relocalize_response(
        self, answer: Answer | None, problem: str, served: ServedMap | None, elapsed_s: float
    ) -> Any:
        """Return a Relocalize response; its pose is empty unless the image was localized."""
        fields: dict[str, Any] = {"success": False, "message": problem, "elapsed": elapsed_s}
        if answer is not None and served is not None:
            relocalization = answer.relocalization
            fields["status"] = self._status_message(answer, served)
            fields["message"] = _sentence(answer)
            pose = self._pose_message(relocalization, served) if relocalization is not None else None
            if pose is not None:
                fields.update(success=True, pose=pose)
        return self._transport.factory.make("hfnet_ros/srv/Relocalize_Response", **fields)

    def trigger_response(self, answer: Answer | None, problem: str) -> Any:
        """Return a Trigger response: success if the robot may use the fix."""
        relocalization = answer.relocalization if answer is not None else None
        return self._transport.factory.make(
            "std_srvs/srv/Trigger_Response",
            success=relocalization is not None and _is_accepted(relocalization),
            message=problem if answer is None else _sentence(answer),
        )

    def load_map_response(self, problem: str, served: ServedMap | None) -> Any:
        """Return a LoadMap response with the map in use after the call."""
        fields: dict[str, Any] = {"success": not problem, "message": problem}
        if served is not None:
            fields["map"] = self._map_info_message(served)
            if not problem:
                fields["message"] = f"using {served.path}, {served.model.sizes.get('keyframes', 0)} keyframes"
        return self._transport.factory.make("hfnet_ros/srv/LoadMap_Response", **fields)

    # Messages

    def _pose_message(self, relocalization: Relocalization, served: ServedMap) -> Any | None:
        if relocalization.map_from_base is None or relocalization.base_covariance is None:
            return None
        try:
            return pose_with_covariance_to_message(
                self._transport.factory,
                relocalization.map_from_base,
                relocalization.base_covariance,
                stamp_ns=relocalization.localization.stamp_ns,
                frame_id=self.map_frame(served),
                diagonal_only=self._config.node.diagonal_covariance,
            )
        except ValueError as error:
            _logger.error("pose not published: %s", error)
            return None

    def _status_message(self, answer: Answer, served: ServedMap) -> Any:
        relocalization = answer.relocalization
        place = relocalization.localization.place if relocalization is not None else None
        best, names = place.keyframe_idxs[0] if place is not None else -1, served.model.keyframe_names
        return status_message(
            self._transport.factory,
            answer,
            map_frame=self.map_frame(served),
            # A set of maps may have become smaller since the answer.
            prior_frame=names[best] if 0 <= best < len(names) else "",
        )

    def _map_info_message(self, served: ServedMap) -> Any:
        model, extent = served.model, served.model.extent
        return map_info_message(
            self._transport.factory,
            path=str(served.path),
            frame_id=self.map_frame(served),
            extractor_id=model.extractor_id,
            digest=served.digest_in_use,
            num_keyframes=model.sizes.get("keyframes", 0),
            num_landmarks=model.sizes.get("landmarks", 0),
            extent_min=extent[0].tolist(),
            extent_max=extent[1].tolist(),
            residual_px=model.residual_px or 0.0,
        )

    def _publish_pictures(self, answer: Answer, relocalization: Relocalization, served: ServedMap) -> None:
        transport, factory = self._transport, self._transport.factory
        asked = [view for view in answer.views if view.view_idx is not None]
        if transport.has_subscribers(topics.MATCHES):
            mountings = [view.base_from_camera for view in asked if view.base_from_camera is not None]
            message = matches_message(
                factory,
                relocalization.localization,
                frame_id=self.drawing_frame(served),
                origin=served.drawing_origin,
                mountings=mountings if len(asked) > 1 else (),
            )
            transport.publish(topics.MATCHES, message)
        if answer.frame is not None and transport.has_subscribers(topics.DEBUG_IMAGE):
            is_one = len(answer.views) == 1
            picture = (
                draw_debug_image(answer.frame, relocalization)
                if is_one
                else draw_debug_images(answer, relocalization)
            )
            frame_id = answer.frame.camera_frame_id
            message = image_to_message(factory, picture, answer.stamp_ns, frame_id)
            transport.publish(topics.DEBUG_IMAGE, message)


def _is_accepted(relocalization: Relocalization) -> bool:
    return relocalization.decision is not None and relocalization.decision.verdict is Verdict.ACCEPTED


def _sentence(answer: Answer) -> str:
    relocalization = answer.relocalization
    if relocalization is None:
        return f"{outcome_word(answer)}: {answer.error}"
    decision = relocalization.decision
    verdict = f", {decision.verdict.value}" if decision is not None else ""
    return f"{relocalization.localization.outcome.value}{verdict}: {reason_of(relocalization)}"
