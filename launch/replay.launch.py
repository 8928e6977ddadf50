"""Play a bag to the relocalizer, in the bag's time.

    ros2 launch hfnet_ros replay.launch.py bag:=drive map:=/path/to/map image:=/camera/image_raw

The bag starts when the node is active for the first time, and the launch ends with it. What is replayed this
way depends on how busy the machine is; `hfnet-ros replay` reads the bag itself, every image in order.
"""

from __future__ import annotations

from pathlib import Path

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from hfnet_ros.errors import InputError
from hfnet_ros.ros.launch_checks import required_packages

CLOCK_HZ = "100"
LAST_IMAGES_S = 3.0


def generate_launch_description() -> LaunchDescription:
    """Return the bag's player and the relocalizer."""
    relocalizer = Path(__file__).parent / "relocalizer.launch.py"
    return LaunchDescription(
        [
            required_packages("ros2bag"),
            DeclareLaunchArgument("bag", description="Folder or file of the bag."),
            DeclareLaunchArgument("rate", default_value="1.0", description="Speed; 2.0 is twice as fast."),
            DeclareLaunchArgument("start_offset", default_value="0.0", description="Seconds to leave out."),
            DeclareLaunchArgument(
                "loop",
                default_value="false",
                choices=["true", "false"],
                description="Play it again and again.",
            ),
            DeclareLaunchArgument("use_sim_time", default_value="true", description="Take the bag's time."),
            OpaqueFunction(function=_check_bag),
            RegisterEventHandler(
                OnStateTransition(
                    start_state="activating",
                    goal_state="active",
                    entities=[OpaqueFunction(function=_play)],
                    handle_once=True,  # a node that is activated again goes on with the bag that plays
                )
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(relocalizer))),
        ]
    )


def _bag(context: LaunchContext) -> Path:
    return Path(LaunchConfiguration("bag").perform(context)).expanduser()


def _check_bag(context: LaunchContext) -> None:
    bag = _bag(context)
    if not bag.exists():
        raise InputError(f"there is no bag {bag}")


def _play(context: LaunchContext) -> list[Action]:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    options = ["--clock", CLOCK_HZ, "--rate", given("rate"), "--start-offset", given("start_offset")]
    if given("loop") == "true":
        options.append("--loop")
    command = ["ros2", "bag", "play", str(_bag(context)), *options]
    return [ExecuteProcess(cmd=command, output="screen", on_exit=_end)]


def _end(event: ProcessExited, context: LaunchContext) -> list[Action]:
    if context.is_shutdown:
        return []
    if event.returncode != 0:
        raise InputError(
            f"the bag was not played to its end: `ros2 bag play` ended with exit code {event.returncode}, see above"
        )
    # Shutdown, behind the end of a process, gives that as the reason.
    return [LogInfo(msg="the bag has ended"), TimerAction(period=LAST_IMAGES_S, actions=[Shutdown()])]
