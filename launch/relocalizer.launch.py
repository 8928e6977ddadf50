"""Run the relocalizer, and take it through configure and activate.

    ros2 launch hfnet_ros relocalizer.launch.py map:=/path/to/map image:=/camera/image_raw
    ros2 launch hfnet_ros relocalizer.launch.py map:=/path/to/map cameras:="front left right rear"

The other launch files include this one, so that their common arguments are declared here only.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_path
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from hfnet_ros.config import parameters_of_node
from hfnet_ros.errors import ConfigError

NODE = "relocalizer"
SWITCH = ("true", "false", "True", "False")
RESPAWN_DELAY_S = 0.5  # Nav2 of Jazzy hangs where the node is not there again before its bond is broken
AS_IN_FILE = "; empty: as params_file says"

# Arguments that are short for a parameter, which they set where they are not empty.
PARAMETERS = {
    "map": "node.map",
    "cameras": "cameras.names",
    "image_transport": "node.image_transport",
    "base_frame": "frames.base_frame",
    "publish_tf": "frames.publish_tf",
}
TOPICS = {"image": "image", "camera_info": "camera_info", "odom": "odom", "pose": "~/pose"}


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, and what makes the node of them."""
    params_file = get_package_share_path("hfnet_ros") / "config" / "relocalizer.yaml"
    return LaunchDescription(
        [
            _argument("map", f"Folder of the map, made by `hfnet-ros map build`{AS_IN_FILE}."),
            _argument("params_file", "Parameters of the node; see the comments in it.", str(params_file)),
            _argument("image", "Topic of sensor_msgs/Image; without .../compressed.", "image"),
            _argument("camera_info", "Topic of sensor_msgs/CameraInfo; empty: beside the image."),
            _argument(
                "cameras",
                "Names of several cameras, each on <name>/image; topics and mountings of their own are in a "
                f"params_file such as four_cameras.yaml{AS_IN_FILE}.",
            ),
            _argument("odom", "Topic of nav_msgs/Odometry, used where TF has no odometry.", "odom"),
            _argument("pose", "Topic of poses; empty: ~/pose, in no namespace /relocalizer/pose."),
            _argument(
                "image_transport", f"Kind of image messages{AS_IN_FILE}.", choices=("", "raw", "compressed")
            ),
            _argument("base_frame", f"Frame of the robot{AS_IN_FILE}."),
            _argument(
                "publish_tf",
                f"Broadcast map->odom; only one node of a robot may{AS_IN_FILE}.",
                choices=("", *SWITCH),
            ),
            _argument("use_sim_time", "Take the time from /clock.", "false", SWITCH),
            _argument("namespace", "Namespace of the node, its topics and its services."),
            _argument("log_level", "Severity from which log messages are shown: debug, info, warn.", "info"),
            _argument(
                "autostart", "Configure and activate the node; false leaves that to others.", "true", SWITCH
            ),
            OpaqueFunction(function=_relocalizer),
        ]
    )


def _argument(name: str, description: str, default: str = "", choices: tuple[str, ...] = ()) -> Action:
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=list(choices) or None
    )


def _relocalizer(context: LaunchContext) -> list[Action]:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context).strip()

    params_file = Path(given("params_file")).expanduser()
    _check_map(given("map"), params_file)
    parameters: dict[str, str | bool] = {
        parameter: given(name) for name, parameter in PARAMETERS.items() if given(name)
    }
    if given("publish_tf"):
        parameters["frames.publish_tf"] = _is_true(given("publish_tf"))
    node = LifecycleNode(
        package="hfnet_ros",
        executable="relocalizer_node",
        name=NODE,
        # With the whole name known, what is set here wins over a section of the file for this node.
        namespace=given("namespace") or "/",
        parameters=[str(params_file), {**parameters, "use_sim_time": _is_true(given("use_sim_time"))}],
        remappings=[(topic, given(name)) for name, topic in TOPICS.items() if given(name) not in ("", topic)],
        arguments=["--ros-args", "--log-level", given("log_level")],
        output="screen",
        # Of nav2_localization.launch.py alone: a node that was started again needs a manager that brings it up.
        respawn=_is_true(context.launch_configurations.get("use_respawn", "false")),
        respawn_delay=RESPAWN_DELAY_S,
    )
    return [node, *_bring_up(node)] if _is_true(given("autostart")) else [node]


def _check_map(folder: str, params_file: Path) -> None:
    try:
        document = yaml.safe_load(params_file.read_text(encoding="utf-8"))
        given = parameters_of_node(document if isinstance(document, dict) else {}, NODE)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"params_file {params_file} cannot be used: {error}") from error
    if given is None:
        raise ConfigError(
            f"params_file {params_file} has no section '/**: ros__parameters:', as ROS needs it"
        )
    section = given.get("node")
    if not folder and not (isinstance(section, dict) and section.get("map")):
        raise ConfigError(
            f"no map is named: give map:=FOLDER (made by `hfnet-ros map build`), or set node.map in {params_file}"
        )


def _bring_up(node: LifecycleNode) -> list[Action]:
    """Return what configures the node and, when that is done, activates it."""

    def change(transition: int) -> Action:
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
        )

    def after(start: str, goal: str, then: Action) -> Action:
        return RegisterEventHandler(
            OnStateTransition(target_lifecycle_node=node, start_state=start, goal_state=goal, entities=[then])
        )

    def say_failed(what: str, transition: str) -> Action:
        # The node's full name, in whatever namespace it was launched, is known when it runs.
        return OpaqueFunction(
            function=lambda _: [
                LogInfo(
                    msg=f"the relocalizer could not be {what}, see above; put it right and call "
                    f"`ros2 lifecycle set {node.node_name} {transition}`"
                )
            ]
        )

    return [
        after("configuring", "inactive", change(Transition.TRANSITION_ACTIVATE)),
        after("configuring", "unconfigured", say_failed("configured", "configure")),
        after("activating", "inactive", say_failed("activated", "activate")),
        change(Transition.TRANSITION_CONFIGURE),
    ]


def _is_true(text: str) -> bool:
    return text.lower() == "true"
