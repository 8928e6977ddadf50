"""`hfnet-ros doctor`: what it finds, what it advises, and its exit status."""

import re

import pytest
from fake_machine import Machine
from fake_tensorrt import RTX

from hfnet_ros.cli.doctor import examine
from hfnet_ros.cli.main import main
from hfnet_ros.config import Config


@pytest.fixture
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    return Machine(monkeypatch, tmp_path / "cache" / "hfnet_ros" / "engines")


def findings(**options):
    config = Config.from_dict({"extractor": {"name": "sift"}, "inference": options})
    return {finding.subject: finding for finding in examine(config)}


def test_a_machine_with_everything(machine):
    machine.install_cuda("pycuda")
    machine.install_tensorrt("10.16")
    found = findings()
    assert found["tensorrt"].mark == "ok"
    assert found["tensorrt"].text == machine.trt.__version__
    assert found["NVIDIA driver"].text == "runs CUDA up to 12.6"
    assert found["GPU 0"].text == "Simulated GPU, compute capability 8.7, 1.0 GiB shared with the CPU"
    assert found["inference.backend"].text == "auto: takes tensorrt"
    assert found["CUDA for Python"].text.startswith("pycuda")
    assert machine.gpu.alive() == 0


def test_a_machine_without_a_gpu_localizes_all_the_same(machine, capsys):
    machine.remove_driver()
    assert main(["doctor", "--extractor", "sift"]) == 0
    out = capsys.readouterr().out
    assert "--  NVIDIA driver          no NVIDIA driver (libcuda.so.1 not found)" in out
    assert out.count("install the NVIDIA driver") == 1
    assert "auto: takes onnxruntime" in out
    assert "!!" not in out


@pytest.mark.parametrize(
    ("missing", "subject", "remedy"),
    [
        ("tensorrt", "tensorrt", "apt install python3-libnvinfer"),
        ("pycuda.driver", "CUDA for Python", "pip install pycuda"),
        ("faiss", "faiss", "pip install faiss-cpu"),
    ],
)
def test_every_lack_has_a_remedy(machine, missing, subject, remedy):
    machine.install_cuda("pycuda")
    machine.install_tensorrt("10.3")
    machine.remove(missing)
    found = findings()[subject]
    assert found.mark == "--"
    assert remedy in found.remedy


def test_an_asked_for_backend_that_is_missing_is_broken(machine, capsys, tmp_path):
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("inference: {backend: tensorrt}")
    assert main(["doctor", "--extractor", "sift", "--params", str(parameters)]) == 1
    assert "!!  tensorrt" in capsys.readouterr().out


def test_missing_weights_are_broken(machine, capsys, tmp_path):
    assert main(["doctor", "--extractor", "xfeat", "--weights", str(tmp_path / "none.pt")]) == 1
    out = capsys.readouterr().out
    assert "!!  extractor xfeat" in out
    assert "none.pt: no such weights file" in out


def test_too_many_threads_are_noticed(machine):
    found = findings(num_threads=64)["CPU"]
    assert found.mark == "--"
    assert "set inference.num_threads to" in found.remedy


def test_a_cache_that_others_may_write_is_noticed(machine):
    machine.cache.mkdir(parents=True)
    machine.cache.chmod(0o777)
    assert findings()["engine cache"].mark == "--"
    machine.install_cuda("pycuda")
    machine.install_tensorrt("10.3")
    found = findings(backend="tensorrt")["engine cache"]
    assert found.mark == "!!"
    assert "others may write it" in found.text


def test_ros_is_described_as_the_shell_has_it(machine, monkeypatch):
    assert findings()["ROS 2"].mark == "--"
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    found = findings()
    assert found["ROS 2"].text == "jazzy, domain 7, rmw_cyclonedds_cpp"
    assert "Fast DDS" not in found


@pytest.mark.parametrize("middleware", [None, "rmw_fastrtps_cpp"])
def test_fast_dds_is_asked_for_the_settings_that_large_images_need(
    machine, monkeypatch, tmp_path, middleware
):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    if middleware:
        monkeypatch.setenv("RMW_IMPLEMENTATION", middleware)
    found = findings()["Fast DDS"]
    assert (found.mark, "0.5 MB" in found.text) == ("--", True)
    path = re.search(r"FASTRTPS_DEFAULT_PROFILES_FILE=(\S+)", found.remedy)[1]
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "none.xml"))
    assert "there is no file" in findings()["Fast DDS"].text
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", path)
    assert findings()["Fast DDS"].mark == "ok"


def test_a_cache_that_cannot_be_written_is_not_called_ok(machine, monkeypatch):
    monkeypatch.setattr("hfnet_ros.inference.code_folder.os.access", lambda folder, mode: False)
    found = findings()["engine cache"]
    assert found.mark == "--"
    assert "cannot be written" in found.text
    assert "inference.engine_cache" in found.remedy


@pytest.mark.parametrize(
    ("precision", "mark", "words"),
    [
        ("int8", "ok", "runs in it on the CPU"),
        ("float32", "--", "runs in float32 on the CPU: cpu_precision is float32"),
    ],
)
def test_int8_is_told_of(machine, precision, mark, words):
    found = {
        finding.subject: finding
        for finding in examine(Config.from_dict({"inference": {"cpu_precision": precision}}))
    }
    assert found["int8"].mark == mark
    assert words in found["int8"].text


# TensorRT for RTX


def test_what_has_never_run_is_said(machine):
    machine.gpu.capability = (8, 9)
    machine.install_cuda("cuda-bindings")
    machine.install_tensorrt(RTX)
    found = findings()
    assert found["tensorrt-rtx"].mark == "ok"
    assert (
        found["tensorrt-rtx"].text == "1.7.1.116; engines were built with it, none has run yet (docs/gpu.md)"
    )
    assert found["inference.backend"].text == "auto: takes tensorrt-rtx"


def test_without_a_gpu_it_still_builds_for_others(machine):
    machine.remove_driver()
    assert findings()["tensorrt-rtx"].remedy == ""
    machine.install_tensorrt(RTX)
    found = findings()["tensorrt-rtx"]
    assert found.mark == "--"
    assert "no NVIDIA driver" in found.text
    assert found.remedy.startswith("builds engines for other machines here: hfnet-ros engine build --compute")


def test_a_gpu_that_is_no_target_is_named(machine):
    machine.install_cuda("pycuda")
    machine.install_tensorrt(RTX)
    found = findings()["tensorrt-rtx"]
    assert "does not build for compute capability 8.7 (Simulated GPU)" in found.text
    found = findings(backend="tensorrt-rtx")["tensorrt-rtx"]
    assert (found.mark, found.remedy) == ("!!", "set inference.backend to 'tensorrt'")
