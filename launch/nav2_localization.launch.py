"""Run the relocalizer in the place of AMCL: with Nav2's map server, under Nav2's lifecycle manager.

    ros2 launch hfnet_ros nav2_localization.launch.py map:=/path/to/map grid:=floor.yaml image:=/camera/image_raw
    ros2 launch nav2_bringup navigation_launch.py

docs/nav2.md explains it.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_path
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetRemap
from launch_ros.parameter_descriptions import ParameterValue

from hfnet_ros.ros.launch_checks import required_packages


def generate_launch_description() -> LaunchDescription:
    """Return the map server, the relocalizer and their manager."""
    params_file = get_package_share_path("hfnet_ros") / "config" / "nav2_params.yaml"
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    common = {
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
        "arguments": ["--ros-args", "--log-level", LaunchConfiguration("log_level")],
    }
    given = [LaunchConfiguration("params_file"), {"use_sim_time": use_sim_time}]
    grid = {"yaml_filename": ParameterValue(LaunchConfiguration("grid"), value_type=str)}
    manager = {"autostart": ParameterValue(LaunchConfiguration("manager_autostart"), value_type=bool)}
    relocalizer = Path(__file__).parent / "relocalizer.launch.py"
    return LaunchDescription(
        [
            required_packages("nav2_map_server", "nav2_lifecycle_manager"),
            DeclareLaunchArgument("grid", description="YAML file of the occupancy grid on which Nav2 plans."),
            # The same arguments as relocalizer.launch.py has, with what differs for Nav2.
            DeclareLaunchArgument(
                "params_file",
                default_value=str(params_file),
                description="Parameters of the relocalizer, the map server and their manager.",
            ),
            DeclareLaunchArgument(
                "publish_tf", default_value="true", description="Broadcast map->odom, which Nav2 needs."
            ),
            DeclareLaunchArgument(
                "pose", default_value="amcl_pose", description="Topic of poses; Nav2's tools expect AMCL's."
            ),
            DeclareLaunchArgument(
                "autostart", default_value="true", description="Have the manager activate both nodes."
            ),
            DeclareLaunchArgument(
                "use_respawn",
                default_value="false",
                choices=["true", "false", "True", "False"],
                description="Start a node again that has died; the manager then brings both up anew.",
            ),
            # As Nav2's own launch files do: in a namespace its nodes have their TF there.
            SetRemap("/tf", "tf"),
            SetRemap("/tf_static", "tf_static"),
            # Included, the relocalizer leaves autostart to the manager.
            SetLaunchConfiguration("manager_autostart", LaunchConfiguration("autostart")),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(relocalizer)),
                launch_arguments={"autostart": "false"}.items(),
            ),
            Node(
                package="nav2_map_server",
                executable="map_server",
                name="map_server",
                parameters=[*given, grid],
                respawn=LaunchConfiguration("use_respawn"),
                respawn_delay=0.5,
                **common,
            ),
            Node(
                package="nav2_lifecycle_manager",
                executable="lifecycle_manager",
                name="lifecycle_manager_localization",
                parameters=[*given, manager],
                **common,
            ),
        ]
    )
