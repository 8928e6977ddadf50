"""Run the relocalizer as a sensor of robot_localization: one EKF for odom, one for map.

    ros2 launch hfnet_ros robot_localization.launch.py map:=/path/to/map image:=/camera/image_raw

docs/robot_localization.md explains it.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_path
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from hfnet_ros.ros.launch_checks import required_packages

CONTROLS = ("set_pose", "reset", "enable", "toggle")


def generate_launch_description() -> LaunchDescription:
    """Return the relocalizer and the two filters."""
    ekf_file = get_package_share_path("hfnet_ros") / "config" / "ekf.yaml"
    relocalizer = Path(__file__).parent / "relocalizer.launch.py"
    return LaunchDescription(
        [
            required_packages("robot_localization"),
            DeclareLaunchArgument(
                "ekf_file", default_value=str(ekf_file), description="Parameters of both filters."
            ),
            DeclareLaunchArgument(
                "local_ekf",
                default_value="true",
                choices=["true", "false"],
                description="Run the filter of odom->base_link; false where the robot has that transform.",
            ),
            # The same argument as relocalizer.launch.py has, with what differs here.
            DeclareLaunchArgument(
                "publish_tf",
                default_value="false",
                choices=["true", "false"],
                description="Leave it false: the global filter broadcasts map->odom, and only one node may.",
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(relocalizer))),
            _ekf("ekf_local", "odometry/local", condition=IfCondition(LaunchConfiguration("local_ekf"))),
            _ekf("ekf_global", "odometry/global"),
        ]
    )


def _ekf(name: str, output_topic: str, condition: IfCondition | None = None) -> Node:
    return Node(
        package="robot_localization",
        executable="ekf_node",
        name=name,
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("ekf_file"),
            {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
        ],
        # Both would offer set_pose, reset, enable and toggle under one name.
        remappings=[("odometry/filtered", output_topic), *((each, f"{name}/{each}") for each in CONTROLS)],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        condition=condition,
    )
