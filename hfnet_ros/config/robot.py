"""Parameters of a robot: the live node, its frames and odometry, and which fixes it believes."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.config.schema import parameter


@dataclass(frozen=True)
class NodeConfig:
    """What the live node does with images."""

    map: str = parameter("", "Folder of the map that is loaded on start.", level="basic")
    mode: str = parameter(
        "continuous",
        "Localize every image, or only when asked by service.",
        choices=("continuous", "on_demand"),
        level="basic",
    )
    max_rate_hz: float = parameter(
        5.0,
        "Images localized per second at the most; 0 takes every image the machine can handle. Odometry carries "
        "the pose between two fixes.",
        unit="Hz",
        low=0.0,
        high=1000.0,
        level="basic",
    )
    image_transport: str = parameter(
        "raw",
        "Kind of image messages; compressed listens to <image>/compressed.",
        choices=("raw", "compressed"),
        level="basic",
    )
    diagonal_covariance: bool = parameter(
        False, "Publish variances only: Nav2 refuses a covariance with any negative element."
    )
    image_timeout_s: float = parameter(
        2.0, "Time without an image after which diagnostics report an error.", unit="s", low=0.1, high=3600.0
    )
    request_timeout_s: float = parameter(
        5.0, "Time a request waits for an image and its answer.", unit="s", low=0.1, high=600.0
    )
    bond: bool = parameter(
        True, "Keep a bond with Nav2's lifecycle manager, where the ROS package bondpy is installed."
    )
    diagnostics_rate_hz: float = parameter(
        1.0, "How often diagnostics are published.", unit="Hz", low=0.1, high=10.0
    )


@dataclass(frozen=True)
class FramesConfig:
    """Coordinate frames (REP-105) and who publishes map->odom."""

    map_frame: str = parameter(
        "", "Name of the map's frame; empty takes the name stored in the map.", level="basic"
    )
    odom_frame: str = parameter("odom", "Frame in which odometry is continuous.", level="basic")
    base_frame: str = parameter(
        "base_link",
        "Frame of the robot whose pose is published; empty means the camera's own.",
        level="basic",
    )
    base_from_camera: str = parameter(
        "",
        "Mounting of the optical frame, 'x y z qx qy qz qw' (m), used where TF has none; empty relies on TF.",
        level="basic",
    )
    publish_tf: bool = parameter(
        False,
        "Broadcast map->odom; only one node of a robot may (AMCL or slam_toolbox do so too).",
        level="basic",
    )
    tf_rate_hz: float = parameter(
        20.0, "How often map->odom is repeated with a fresh stamp.", unit="Hz", low=1.0, high=200.0
    )
    transform_tolerance_s: float = parameter(
        0.1, "How far map->odom is dated into the future, as AMCL does.", unit="s", low=0.0, high=5.0
    )

    def __post_init__(self) -> None:
        """Take the leading slash away that tf 1 allowed and tf2 does not know."""
        for name in ("map_frame", "odom_frame", "base_frame"):
            object.__setattr__(self, name, getattr(self, name).lstrip("/"))


@dataclass(frozen=True)
class OdometryConfig:
    """Where odometry comes from and how far it may be trusted."""

    source: str = parameter(
        "auto",
        "Tf looks up odom->base, topic listens to `odom`, auto takes whichever is there (and works without until "
        "either has been seen), none relies on the speed limits below.",
        choices=("auto", "tf", "topic", "none"),
        level="basic",
    )
    history_s: float = parameter(
        10.0,
        "How long odometry is remembered; must exceed the delay of images.",
        unit="s",
        low=0.5,
        high=600.0,
    )
    max_gap_s: float = parameter(
        0.25, "Largest gap between two odometry poses that is interpolated.", unit="s", low=0.001, high=10.0
    )
    wait_s: float = parameter(
        0.1,
        "How long to wait, after an image is localized, for odometry to reach its stamp.",
        unit="s",
        low=0.0,
        high=5.0,
    )
    translation_sigma_m: float = parameter(
        0.05,
        "Standard deviation of position gathered over one metre of travel; grows with the root of the distance.",
        unit="m",
        low=0.0,
        high=10.0,
    )
    rotation_sigma_deg: float = parameter(
        1.0,
        "Standard deviation of orientation gathered over one metre of travel, and again over one radian of turn.",
        unit="deg",
        low=0.0,
        high=90.0,
    )
    max_speed_m_s: float = parameter(
        1.5, "Speed of the robot where there is no odometry.", unit="m/s", low=0.01, high=100.0
    )
    max_turn_deg_s: float = parameter(
        90.0, "Turning rate of the robot where there is no odometry.", unit="deg/s", low=1.0, high=3600.0
    )


@dataclass(frozen=True)
class GateConfig:
    """When a fix is believed, and when the former position is given up."""

    probability: float = parameter(
        0.999, "Share of right fixes that pass the chi-square gate.", low=0.5, high=0.999999
    )
    axes: str = parameter(
        "full",
        "Axes that are compared: all six, or x, y and yaw of a robot on a floor; the rest only tells floors apart.",
        choices=("full", "planar"),
        level="basic",
    )
    systematic_translation_m: float = parameter(
        0.05,
        "Error that neighbouring fixes have in common (the map's own), which averaging does not remove; standard "
        "deviation of position.",
        unit="m",
        low=0.001,
        high=10.0,
    )
    systematic_rotation_deg: float = parameter(
        1.0, "The same for orientation.", unit="deg", low=0.01, high=90.0
    )
    agreement_fixes: int = parameter(
        3, "Fixes that must agree before a position is believed at all.", low=1, high=100
    )
    recovery_rejections: int = parameter(
        5,
        "Rejected fixes in a row that agree with each other, after which the former position is given up "
        "(kidnapped robot).",
        low=2,
        high=1000,
    )
    allow_arbitrary_scale: bool = parameter(
        False,
        "Take the unit of a map that was built of images alone for a metre; without this nothing in such a map is "
        "accepted or published.",
    )
    smoothing_s: float = parameter(
        1.0,
        "Time constant with which the broadcast map->odom follows the filter; 0 lets it jump.",
        unit="s",
        low=0.0,
        high=60.0,
    )


@dataclass(frozen=True)
class StalenessConfig:
    """How long a position counts as known without a new fix."""

    position_sigma_m: float = parameter(
        0.5, "Standard deviation of position beyond which it is STALE.", unit="m", low=0.01, high=1000.0
    )
    rotation_sigma_deg: float = parameter(
        10.0, "Standard deviation of orientation beyond which it is STALE.", unit="deg", low=0.1, high=180.0
    )
    lost_factor: float = parameter(
        10.0,
        "How many times these limits the uncertainty may reach before the position is LOST.",
        low=1.0,
        high=1000.0,
    )
