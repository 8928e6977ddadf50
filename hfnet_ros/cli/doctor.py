"""Verb `doctor`: what this program finds on this machine, or in a recording for a map, with a remedy for each lack."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hfnet_ros
from hfnet_ros.cli.bag_sources import (
    CAMERA_OPTIONS,
    MOUNTING_OPTIONS,
    ODOMETRY_OPTIONS,
    add_camera_options,
    add_cameras_option,
    add_mounting_options,
    add_odometry_options,
    bag_choices,
    refuse_without_bag,
    with_cameras,
)
from hfnet_ros.cli.options import INSTALL_DDS, add_config_options, add_mask_option, new_verb, read_config
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, EngineError, HfnetRosError
from hfnet_ros.features.protocol import NetworkExtractor
from hfnet_ros.files.share import share_path
from hfnet_ros.inference.backend import prefers_int8
from hfnet_ros.inference.driver import DriverReport, probe_driver
from hfnet_ros.inference.probe import BackendReport
from hfnet_ros.inference.processor import byte_products
from hfnet_ros.inference.tensorrt_library import LIBRARIES

_EXAMPLE = """hfnet-ros doctor   # exit 0: images can be localized here; 1: they cannot
  hfnet-ros doctor --map kitchen.map --bag robot.bag   # exit 0: that robot would be localized; 1: not, or wrongly"""
_OK, _OPTIONAL, _BROKEN = "ok", "--", "!!"
_PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
_USUAL_SIZE_WH = (640, 480)
_LIBRARIES = ("numpy", "scipy", "opencv-python-headless", "onnx", "onnxruntime")
_MODULES = {"opencv-python-headless": "cv2"}


@dataclass(frozen=True)
class Finding:
    """One line of the picture.

    Attributes:
        mark: `ok`, `--` (missing, but not needed to localize) or `!!` (localizing is not possible).
        remedy: what to do; empty where all is well.
    """

    mark: str
    subject: str
    text: str
    remedy: str = ""


def add_verbs(verbs: Any) -> None:
    """Add `doctor`."""
    what = "show what works on this machine, or in a recording for a map, and what to do about the rest"
    parser = new_verb(verbs, "doctor", what, _EXAMPLE, _run)
    add_config_options(parser, extractor=True)
    add_mask_option(parser)
    parser.add_argument("--map", type=Path, metavar="MAP", help="look at a recording for this map instead")
    parser.add_argument(
        "--bag", type=Path, metavar="BAG", help="the recording: images, calibration, odometry, transforms"
    )
    parser.add_argument(
        "--camera", type=Path, metavar="FILE", help="with --bag: calibration (default: the bag's)"
    )
    add_camera_options(parser)
    add_cameras_option(parser)
    add_odometry_options(parser)
    add_mounting_options(parser)


def _run(options: argparse.Namespace) -> int:
    """Print every finding; 1 if one says that images cannot be localized, or wrongly, else 0."""
    if (options.map is None) != (options.bag is None):
        raise ConfigError("--map and --bag are given together: a recording is looked at for a map")
    if options.bag is None:
        refuse_without_bag(
            options, "camera", "cameras", *CAMERA_OPTIONS, *ODOMETRY_OPTIONS, *MOUNTING_OPTIONS
        )
    config = with_cameras(read_config(options), options)
    worst = 0
    for finding in examine(config) if options.bag is None else examine_bag(options, config):
        print(f"{finding.mark}  {finding.subject:<22} {finding.text}")
        if finding.remedy:
            print(f"    {'':<22} -> {finding.remedy}")
        worst = max(worst, int(finding.mark == _BROKEN))
    return worst


def examine(config: Config) -> Iterator[Finding]:
    """Yield what there is to say of this machine, from the program outward."""
    driver = probe_driver()
    yield from _of_program(config)
    yield from _of_cpu(config)
    yield from _of_gpu(driver)
    yield from _of_backends(config, driver)
    yield from _of_engine_cache(config)
    yield from _of_weights(config)
    yield from _of_ros()
    yield from _of_dds()


def examine_bag(options: argparse.Namespace, config: Config) -> Iterator[Finding]:
    """Yield what there is to say of a recording for a map, see `check_bag`.

    Raises:
        BagError: it cannot be read.
        MapFormatError: the map cannot be used.
    """
    from hfnet_ros.bags import BagReader
    from hfnet_ros.node.served_map import ServedMap
    from hfnet_ros.replay.bag_check import check_bag

    served = ServedMap.load(str(options.map))
    with BagReader(options.bag) as bag:
        for found in check_bag(bag, served, bag_choices(options), config):
            mark = _BROKEN if found.is_fatal else _OK if found.is_good else _OPTIONAL
            yield Finding(mark, found.subject, found.text)


def _of_program(config: Config) -> Iterator[Finding]:
    text = f"{hfnet_ros.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding(_OK, "hfnet_ros", f"{text} ({sys.prefix})")
    for name in _LIBRARIES:
        module = _MODULES.get(name, name)
        if importlib.util.find_spec(module) is None:
            yield Finding(_BROKEN, name, "not installed", f"pip install {name}")
        else:
            yield Finding(_OK, name, _version(name) or "version unknown (not installed by pip)")
    yield from _of_solver(config)
    yield from _of_large_maps()
    if importlib.util.find_spec("pycolmap") is None:
        remedy = (
            "pip install pycolmap (no wheels for aarch64), or make maps on another machine and copy them: localizing "
            "does not need it"
        )
        yield Finding(_OPTIONAL, "pycolmap", "not installed: no maps can be made here", remedy)
    else:
        yield Finding(_OK, "pycolmap", _version("pycolmap"))


def _of_large_maps() -> Iterator[Finding]:
    """Yield what looks through the codes of maps of many keyframes."""
    from hfnet_ros.map.keyframe_codes import MIN_CODED_KEYFRAMES
    from hfnet_ros.retrieval.code_index import find_faiss

    if find_faiss() is None:
        what = f"not installed: keyframes of a map of more than {MIN_CODED_KEYFRAMES} are compared one by one"
        yield Finding(_OPTIONAL, "faiss", what, "pip install faiss-cpu, for large maps")
    else:
        yield Finding(_OK, "faiss", _version("faiss-cpu") or "version unknown (not installed by pip)")


def _of_solver(config: Config) -> Iterator[Finding]:
    """Yield what samples poses: PoseLib, or where that is missing OpenCV."""
    from hfnet_ros.pose.absolute_pose import pose_method_name
    from hfnet_ros.pose.poselib_library import INSTALL_POSELIB, why_no_poselib

    asked, missing = config.pose.method, why_no_poselib()
    if missing:
        is_asked_for = asked == "lo-ransac"
        remedy = f"{INSTALL_POSELIB}, or pose.method {'auto or usac' if is_asked_for else 'as it is: OpenCV samples'}"
        yield Finding(
            _BROKEN if is_asked_for else _OPTIONAL, "poselib", f"cannot be imported ({missing})", remedy
        )
    else:
        yield Finding(_OK, "poselib", _version("poselib") or "version unknown (not installed by pip)")
    taken = {"lo-ransac": "lo-ransac (PoseLib)", "usac": "usac (OpenCV)"}
    if asked == "auto":
        asked = f"auto: takes {taken[pose_method_name(config.pose)]}"
    yield Finding(_OK, "pose.method", asked)


def _of_cpu(config: Config) -> Iterator[Finding]:
    available = len(os.sched_getaffinity(0))
    threads = config.inference.num_threads
    text = f"{available} of {os.cpu_count()} cores usable, inference.num_threads is {threads}"
    remedy = f"set inference.num_threads to {available} or less" if threads > available else ""
    yield Finding(_OPTIONAL if remedy else _OK, "CPU", text, remedy)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(_OK, "memory", f"{memory / 2**30:.1f} GiB")


def _of_gpu(driver: DriverReport) -> Iterator[Finding]:
    release = Path("/etc/nv_tegra_release")
    if release.is_file():
        yield Finding(_OK, "Jetson", release.read_text(errors="replace").splitlines()[0].lstrip("# "))
    if driver.reason:
        yield Finding(_OPTIONAL, "NVIDIA driver", driver.reason, driver.remedy)
        return
    version = ".".join(map(str, driver.cuda_version or ()))
    yield Finding(_OK, "NVIDIA driver", f"runs CUDA up to {version}")
    for gpu in driver.gpus:
        kind = "shared with the CPU" if gpu.integrated else "own memory"
        capability = ".".join(map(str, gpu.capability))
        text = f"{gpu.name}, compute capability {capability}, {gpu.memory_bytes / 2**30:.1f} GiB {kind}"
        yield Finding(_OK, f"GPU {gpu.index}", text)


def _of_backends(config: Config, driver: DriverReport) -> Iterator[Finding]:
    from hfnet_ros.inference.cuda_memory import INSTALL, find_cuda_library
    from hfnet_ros.inference.probe import BACKENDS, probe_backend

    library = find_cuda_library()
    yield Finding(
        _OK if library else _OPTIONAL,
        "CUDA for Python",
        f"{library} {_version(library)}" if library else "neither pycuda nor cuda-bindings",
        "" if library else f"for TensorRT: {INSTALL}",
    )
    reports = [probe_backend(name, driver) for name in BACKENDS]
    asked = config.inference.backend
    for report in reports:
        needed = report.name == asked or (asked == "auto" and report.name == BACKENDS[-1])
        if report.reason:
            mark = _BROKEN if needed else _OPTIONAL
            # What the driver lacks has been told once.
            remedy = "" if report.reason == driver.reason and mark == _OPTIONAL else report.remedy
            if report.reason == driver.reason:
                remedy = "; ".join(filter(None, (remedy, _ahead(report))))
            yield Finding(mark, report.name, f"{report.version} {report.reason}".strip(), remedy)
        else:
            yield Finding(_OK, report.name, f"{report.version}{_caution(report.name)}")
    usable = [report.name for report in reports if not report.reason]
    chosen = usable[0] if asked == "auto" and usable else asked
    yield Finding(_OK, "inference.backend", f"{asked}: takes {chosen}" if asked == "auto" else asked)


def _caution(backend: str) -> str:
    library = LIBRARIES.get(backend)
    return f"; {library.caution}" if library is not None and library.caution else ""


def _ahead(report: BackendReport) -> str:
    """Return what a library is good for where its engines cannot run; empty where that is nothing."""
    library = LIBRARIES.get(report.name)
    if library is None or not library.builds_ahead or not library.module:
        return ""
    return f"builds engines for other machines here: {library.build_ahead_hint}"


def _of_engine_cache(config: Config) -> Iterator[Finding]:
    from hfnet_ros.inference.plan_cache import PlanCache

    cache = PlanCache(config.inference.engine_cache)
    mark = _BROKEN if config.inference.backend in LIBRARIES else _OPTIONAL
    try:
        cache.check_folder()
    except EngineError as error:
        yield Finding(mark, "engine cache", str(error))
        return
    if not cache.is_writable:
        text = f"{cache.folder}: cannot be written: TensorRT engines and kernels cannot be kept"
        yield Finding(mark, "engine cache", text, "name another with inference.engine_cache")
        return
    plans = cache.plans()
    size = sum(plan.num_bytes for plan in plans)
    yield Finding(_OK, "engine cache", f"{cache.folder}: {len(plans)} engines, {size / 2**20:.1f} MiB")
    for library in LIBRARIES.values():
        version = library.installed_version()
        own = [plan for plan in plans if plan.key.library == library.backend]
        stale = [plan for plan in own if version and plan.key.tensorrt != version]
        if not stale:
            continue
        yield Finding(
            _OPTIONAL,
            "engine cache",
            f"{len(stale)} engines are of another {library.title} than {version}",
            f"delete {stale[0].path}{' and others (engine inspect)' if len(stale) > 1 else ''}",
        )


def _of_weights(config: Config) -> Iterator[Finding]:
    from hfnet_ros.features.extractor import create_extractor

    name = config.extractor.name
    try:
        extractor = create_extractor(config)
    except HfnetRosError as error:
        yield Finding(_BROKEN, f"extractor {name}", str(error), "hfnet-ros weights list")
        return
    yield Finding(_OK, f"extractor {name}", extractor.extractor_id)
    yield from _of_int8(extractor, config)
    extractor.close()


def _of_int8(extractor: NetworkExtractor, config: Config) -> Iterator[Finding]:
    """Yield whether a network has an int8 form, and whether the CPU would run that."""
    for network in extractor.networks(_USUAL_SIZE_WH):
        if network.quantized is None:
            continue
        try:
            network.quantized()
        except HfnetRosError as error:
            is_asked_for = config.inference.cpu_precision == "int8"
            yield Finding(_BROKEN if is_asked_for else _OPTIONAL, "int8", str(error))
            continue
        instruction = byte_products() or "no instruction"
        if prefers_int8(config.inference):
            yield Finding(_OK, "int8", f"{network.name} runs in it on the CPU, by {instruction}")
        else:
            why = f"cpu_precision is {config.inference.cpu_precision}, for products of bytes there is {instruction}"
            yield Finding(_OPTIONAL, "int8", f"{network.name} runs in float32 on the CPU: {why}")


def _of_ros() -> Iterator[Finding]:
    distribution = os.environ.get("ROS_DISTRO", "")
    if not distribution:
        text, remedy = (
            "no ROS 2 in this shell",
            "source /opt/ros/<distribution>/setup.bash, or use hfnet-ros run",
        )
        yield Finding(_OPTIONAL, "ROS 2", text, remedy)
        return
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    middleware = os.environ.get("RMW_IMPLEMENTATION", "")
    yield Finding(_OK, "ROS 2", f"{distribution}, domain {domain}, {middleware or 'default RMW (Fast DDS)'}")
    if not middleware or middleware.startswith("rmw_fastrtps"):
        yield _of_fast_dds()
    if importlib.util.find_spec("rclpy") is None:
        yield Finding(
            _OPTIONAL,
            "rclpy",
            f"not in this Python ({platform.python_version()})",
            "use the Python that ROS was built for, in a virtual environment with --system-site-packages",
        )
    else:
        yield Finding(_OK, "rclpy", "found")


def _of_fast_dds() -> Finding:
    """Return whether large images pass, as far as settings tell."""
    file, profiles = "config/fastdds.xml", os.environ.get(_PROFILES, "")
    if profiles and Path(profiles).is_file():
        return Finding(_OK, "Fast DDS", f"profiles {profiles}")
    with contextlib.suppress(ConfigError):
        file = str(share_path(file))
    remedy = f"export {_PROFILES}={file} for the camera's driver and the node"
    if profiles:
        return Finding(_OPTIONAL, "Fast DDS", f"{_PROFILES}: there is no file {profiles}", remedy)
    return Finding(
        _OPTIONAL, "Fast DDS", "by default images of more than 0.5 MB are lost, most of them", remedy
    )


def _of_dds() -> Iterator[Finding]:
    if importlib.util.find_spec("cyclonedds") is None:
        yield Finding(
            _OPTIONAL,
            "DDS without ROS",
            "no module 'cyclonedds'",
            f"{INSTALL_DDS} (x86_64; hfnet-ros run, play and echo need it, the ROS node does not)",
        )
        return
    settings = os.environ.get("CYCLONEDDS_URI", "")
    text = (
        f"cyclonedds {_version('cyclonedds')}, {'settings ' + settings if settings else 'default settings'}"
    )
    yield Finding(_OK, "DDS without ROS", text)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
