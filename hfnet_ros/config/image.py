"""Parameters of what is done with one image: features, retrieval, matching, pose."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.config.schema import parameter

EXTRACTOR_NAMES = [
    "hfnet",
    "xfeat",
    "xfeat+hfnet",
    "xfeat-star",
    "sift",
]  # features.extractor adds those that others register
POSE_METHOD_NAMES = ["auto", "lo-ransac", "usac"]  # pose.absolute_pose adds those that others register
MATCHER_NAMES = ["nearest", "learned", "auto"]  # matching.registry adds those that others register


@dataclass(frozen=True)
class ExtractorConfig:
    """Which features describe an image."""

    name: str = parameter(
        "hfnet",
        "Feature extractor: hfnet, whose weights come with the package and whose one pass gives local and global "
        "descriptors; xfeat, with its published weights; xfeat+hfnet, XFeat's keypoints and HF-Net's global "
        "descriptor; xfeat-star, the most reliable cells of XFeat's map; sift, without a network.",
        choices=EXTRACTOR_NAMES,
        level="basic",
    )
    weights: str = parameter(
        "",
        "Weights of the extractor (of xfeat+hfnet: XFeat's); empty searches the usual places.",
        level="basic",
    )
    max_keypoints: int = parameter(
        2048,
        "Keypoints kept per image, best first; of one that is localized, no more than matching.max_query_keypoints, "
        "unless they describe it as a whole.",
        low=64,
        high=8192,
    )


@dataclass(frozen=True)
class HFNetConfig:
    """How HF-Net chooses keypoints."""

    detection_threshold: float = parameter(
        0.005, "Score above which a peak is a keypoint, as published.", low=0.0, high=1.0
    )
    nms_radius_px: int = parameter(
        4,
        "Half size of the square in which a keypoint suppresses others, as published.",
        unit="px",
        low=1,
        high=16,
    )


@dataclass(frozen=True)
class XFeatConfig:
    """How XFeat chooses keypoints, also for xfeat+hfnet."""

    detection_threshold: float = parameter(
        0.05, "Heat-map probability above which a peak is a keypoint, as published.", low=0.0, high=1.0
    )
    nms_radius_px: int = parameter(
        2,
        "Half size of the square in which a keypoint must be the highest, as published.",
        unit="px",
        low=1,
        high=16,
    )


@dataclass(frozen=True)
class SiftConfig:
    """How SIFT chooses keypoints."""

    contrast_threshold: float = parameter(
        0.02,
        "Contrast below which a keypoint is dropped; half of OpenCV's default, because indoor walls are faint.",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class RetrievalConfig:
    """How prior frames are found and grouped."""

    num_prior_frames: int = parameter(
        10,
        "Keyframes retrieved per image by a network's global descriptor, as many as Sarlin et al. 2019 took; "
        "more bring landmarks that no more than confuse.",
        low=1,
        high=500,
    )
    num_prior_frames_vlad: int = parameter(
        25,
        "The same where the map learned VLAD of the extractor's keypoints: with 10 nearly all strongly turned views "
        "are lost, with 20 a few.",
        low=1,
        high=500,
    )
    max_places: int = parameter(3, "Places tried per image before giving up.", low=1, high=50)
    max_turned: int = parameter(
        1,
        "Turned versions of an image, those whose keypoints look most like the map's, that are tried where it is not "
        "localized as it is; with a predicted pose the one that it asks for. 0 is off: for cameras that never roll.",
        low=0,
        high=8,
    )
    roll_pause_s: float = parameter(
        3.0,
        "Seconds of a stream (live, or a bag) until images are looked for turned again after that found nothing: it "
        "takes eight times as long as looking for them as they are. A camera that rolls without odometry is found "
        "that much later, and from then on at once. 0: with every image.",
        low=0.0,
        high=3600.0,
        unit="s",
    )
    second_list: bool = parameter(
        True,
        "Describe a map's keyframes by their keypoints (VLAD), too, where the network has a global head; every other "
        "prior frame is then one that both call similar. At night that finds more; some 1 KB more a keyframe.",
    )
    vocabulary_size: int = parameter(
        64,
        "Visual words learned from the map: landmarks are matched within them, and extractors without a global "
        "descriptor get one of them (VLAD).",
        low=4,
        high=512,
    )
    global_size: int = parameter(
        1024, "Largest number of dimensions kept of an aggregated descriptor.", low=16, high=8192
    )
    exact_limit: int = parameter(
        2000,
        "Keyframes up to which all are compared; in a larger map those that codes of all of them call most similar.",
        low=0,
        high=10000000,
    )
    compared_per_root: float = parameter(
        0.7,
        "Keyframes whose descriptors are compared then, found by codes of two bits a number: ten prior frames take so "
        "many for each root of the number of keyframes.",
        low=0.05,
        high=100.0,
    )
    min_shared_landmarks: int = parameter(
        20, "Landmarks two prior frames must share to belong to one place.", low=1, high=1000
    )

    def count(self, *, by_vlad: bool) -> int:
        """Return the number of keyframes to retrieve per image, which depends on what describes them."""
        return self.num_prior_frames_vlad if by_vlad else self.num_prior_frames


@dataclass(frozen=True)
class LocalizationConfig:
    """What of a map an image is localized by."""

    method: str = parameter(
        "auto",
        "What finds matches: landmarks compares keypoints with landmarks; scene asks the map's scene-coordinate "
        "network; both compares with landmarks and, where that finds no pose, with those near where the network puts "
        "the keypoints; auto takes all that the map has.",
        choices=("auto", "landmarks", "scene", "both"),
    )


@dataclass(frozen=True)
class MatchingConfig:
    """How query keypoints are matched to landmarks."""

    method: str = parameter(
        "nearest",
        "What finds matches: nearest compares descriptors, each other's most similar ones match; learned asks "
        "LighterGlue about the best prior frames (maps of XFeat with `mapping.keep_observations`); auto asks it where "
        "nearest finds no pose.",
        choices=MATCHER_NAMES,
    )
    learned_keyframes: int = parameter(
        4,
        "Prior frames, those that saw most of what nearest matches, that the learned matcher compares an image with; "
        "each costs as much.",
        low=1,
        high=50,
    )
    learned_keypoints: int = parameter(
        512,
        "Keypoints of either image that it takes: those most like any of the other image's.",
        low=32,
        high=2048,
    )
    max_query_keypoints: int = parameter(1024, "Best query keypoints that are matched.", low=64, high=8192)
    max_landmarks: int = parameter(
        20000,
        "Landmarks of a place that are matched, those seen by most prior frames first.",
        low=100,
        high=1000000,
    )
    words_per_keypoint: int = parameter(
        8,
        "Visual words in which a keypoint is compared with landmarks; all of them is exhaustive.",
        low=1,
        high=512,
    )
    min_similarity: float = parameter(0.6, "Cosine below which a match is dropped.", low=-1.0, high=1.0)
    ratio: float = parameter(
        1.0,
        "Largest ratio of best to second-best descriptor distance, another landmark's; 1 is off: with XFeat "
        "0.95 took a quarter of the hard queries.",
        low=0.1,
        high=1.0,
    )


@dataclass(frozen=True)
class PoseConfig:
    """How a pose is estimated from matches. Pixels are meant at a focal length of 525 px."""

    method: str = parameter(
        "auto",
        "What samples first poses: lo-ransac is PoseLib's RANSAC with local optimisation, usac OpenCV's; auto takes "
        "lo-ransac where PoseLib is installed, else usac.",
        choices=POSE_METHOD_NAMES,
    )
    answer_frame: str = parameter(
        "given",
        "Where a map's poses were refined: given answers in the frame of the poses it was built with, in which "
        "costmaps and routes are; refined in that of the refined ones, among which all is decided.",
        choices=["given", "refined"],
        level="basic",
    )
    weights: str = parameter(
        "auto",
        "How inliers weigh in a pose: even is all alike, by_depth by how well the depths of their landmarks are "
        "known, and the less the farther they are off; auto is what the map's test of itself found better, and "
        "by_depth where it has none.",
        choices=["auto", "even", "by_depth"],
    )
    assumed_residual_px: float = parameter(
        2.7,
        "Reprojection noise per axis where the map has no self-test, three fifths of it where landmarks weigh by "
        "depth; where it has one, that is used, between 1 px and this value.",
        unit="px",
        low=0.5,
        high=20.0,
    )
    ransac_sigmas: float = parameter(
        4.5,
        "RANSAC's inlier threshold in standard deviations of the map's reprojection noise.",
        low=1.0,
        high=10.0,
    )
    robust_sigmas: float = parameter(
        6.0,
        "Scale of the robust cost, and radius of the final inliers, in the same unit.",
        low=1.0,
        high=20.0,
    )
    num_hypotheses: int = parameter(
        1, "Independent RANSAC runs on all matches; their answers compete.", low=1, high=20
    )
    max_iterations: int = parameter(1000, "Samples per RANSAC run at the most.", low=50, high=100000)
    seed: int = parameter(0, "Seed of every random choice.", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class VerificationConfig:
    """What a pose must show before it is believed."""

    max_false_probability: float = parameter(
        0.2,
        "Largest probability that a pose is wrong (by more than 0.5 m or 10 degrees) with which it is given. It "
        "assumes that half of all images have no place in the map, posters, mirrors and look-alikes of it among them.",
        low=0.0,
        high=1.0,
        level="basic",
    )
    min_evidence: float = parameter(
        15.0,
        "Decades by which chance is less likely to explain the inliers than the number of poses tried "
        "(a-contrario, on image cells). Of 400 unrelated photographs none had more than 12.2; how far to trust what "
        "has more is left to max_false_probability.",
        low=0.0,
        high=1000.0,
    )
    min_inliers: int = parameter(12, "Inliers on distinct keypoints at the least.", low=4, high=1000)
    max_rival_ratio: float = parameter(
        0.97,
        "Score of the best clearly different pose (5 degrees or 0.1 of the distance) over the score of the best one.",
        low=0.1,
        high=1.0,
    )
    min_lead_over_rival: float = parameter(
        1.645,
        "Standard deviations by which a pose explains the matches better than any that is turned by 8 degrees or "
        "0.15 of the distance away; 95 % one-sided. Near-planar scenes fail first.",
        low=0.0,
        high=100.0,
    )
    max_twin_ratio: float = parameter(
        0.6,
        "Score of another pose on matches that the best one leaves over, over the best one's: two places alike.",
        low=0.1,
        high=1.0,
    )
    max_rematch_ratio: float = parameter(
        0.35,
        "Score of the inliers matched to what the pose does not see, over their own: two places alike.",
        low=0.05,
        high=1.0,
    )
    max_mirror_ratio: float = parameter(
        1.0,
        "Score of the pose of the mirrored image over that of the image, in a map that was found to look like itself "
        "in a mirror (`map info` says so; each answer there takes another pass of the network).",
        low=0.1,
        high=100.0,
    )
    max_focal_change: float = parameter(
        0.17,
        "Part by which the focal length that an image fits best may differ from its calibration's, where the matches "
        "are sure of it and not all of one plane: an image that was cropped or zoomed looks as if taken from nearer.",
        low=0.05,
        high=100.0,
    )
    min_seen_of_flat: float = parameter(
        0.85,
        "Of what should be seen from a pose, the share that must be where nearly all that is seen lies in one plane "
        "(to 5 % of the distance): a picture of something flat is as good as the thing, but ends somewhere.",
        low=0.0,
        high=1.0,
    )
    max_view_change_deg: float = parameter(
        75.0, "A landmark is not recognised from further around than this.", unit="deg", low=10.0, high=180.0
    )
    max_scale_change: float = parameter(
        4.0, "A landmark is not recognised from this many times nearer or farther.", low=1.2, high=20.0
    )
    max_translation_sigma_m: float = parameter(
        0.5, "Largest standard deviation of position in its worst direction.", unit="m", low=0.001, high=100.0
    )
    max_rotation_sigma_deg: float = parameter(
        10.0,
        "Largest standard deviation of orientation about its worst axis.",
        unit="deg",
        low=0.01,
        high=90.0,
    )
    cell_size_px: float = parameter(
        40.0,
        "Side of the image cells in which inliers count once, at an image width of 640.",
        unit="px",
        low=4.0,
        high=320.0,
    )


@dataclass(frozen=True)
class PriorConfig:
    """Searching first where the robot is expected."""

    enabled: bool = parameter(True, "Search near the predicted position first, then the whole map.")
    sigmas: float = parameter(
        3.0, "Radius of that search in standard deviations of the prediction.", low=1.0, high=20.0
    )
    margin_m: float = parameter(
        3.0,
        "Added to the radius: keyframes look at the same things from some way off.",
        unit="m",
        low=0.0,
        high=1000.0,
    )
    max_angle_deg: float = parameter(
        75.0,
        "Keyframes turned away further from the predicted view are left out.",
        unit="deg",
        low=5.0,
        high=180.0,
    )
    max_radius_m: float = parameter(
        150.0,
        "With a vaguer prediction than this the whole map is searched at once: 3 sigmas of a position by wifi. Of more "
        "than 30 m also where that leaves less than half of the map out.",
        unit="m",
        low=0.1,
        high=1000.0,
    )
