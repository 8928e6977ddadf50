import numpy as np
import pytest

from hfnet_ros.errors import DatasetError
from hfnet_ros.files.tum import StampedPose, read_tum, write_tum
from hfnet_ros.geometry.rigid3 import Rigid3

UNIT = "0 0 0 0 0 0 1"


def write(tmp_path, *lines):
    path = tmp_path / "poses.tum"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_reads_a_line_by_hand(tmp_path):
    path = write(
        tmp_path, "# comment", "", "  # another", "12.333333 1 -2 3.5 0 0 0.7071068 0.7071068", "   "
    )
    (pose,) = read_tum(path)
    assert pose.stamp_ns == 12_333_333_000
    np.testing.assert_array_equal(pose.map_from_camera.translation, [1.0, -2.0, 3.5])
    np.testing.assert_allclose(pose.map_from_camera @ np.array([1.0, 0.0, 0.0]), [1.0, -1.0, 3.5], atol=1e-7)


@pytest.mark.parametrize(
    ("text", "stamp_ns"),
    [
        ("0", 0),
        ("1403636579.763555527", 1403636579763555527),  # a float would give ...555456
        ("1403636579.763555500000", 1403636579763555500),
        ("1.403636579763555527e+09", 1403636579763555527),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("16.66666666666666666666666666666666666666", 16666666667),
        (".5", 500_000_000),
        ("-1.5", -1_500_000_000),
        ("9223372036.854775807", 2**63 - 1),
        ("1e-999999999", 0),
    ],
)
def test_stamps_are_exact(tmp_path, text, stamp_ns):
    (pose,) = read_tum(write(tmp_path, f"{text} {UNIT}"))
    assert pose.stamp_ns == stamp_ns


def test_round_trip(tmp_path):
    rng = np.random.default_rng(4)
    stamps_ns = [-1, 0, 999_999_999, 1403636579763555527, 2**63 - 1]
    poses = [
        StampedPose(ns, Rigid3.from_rotvec(rng.normal(size=3), rng.normal(size=3) * 1e3)) for ns in stamps_ns
    ]
    path = tmp_path / "out.tum"
    write_tum(path, poses)
    again = read_tum(path)
    assert [pose.stamp_ns for pose in again] == stamps_ns
    for new, old in zip(again, poses, strict=True):
        np.testing.assert_array_equal(new.map_from_camera.translation, old.map_from_camera.translation)
        np.testing.assert_allclose(new.map_from_camera.rotation, old.map_from_camera.rotation, atol=1e-14)
    stamps = [line.split()[0] for line in path.read_text().splitlines()[1:]]
    assert stamps[:3] == ["-0.000000001", "0.000000000", "0.999999999"]


def test_no_poses(tmp_path):
    write_tum(tmp_path / "none.tum", [])
    assert read_tum(tmp_path / "none.tum") == ()


def test_windows_line_ends_tabs_and_byte_order_mark(tmp_path):
    path = tmp_path / "poses.tum"
    path.write_bytes(b"\xef\xbb\xbf1.5\t0 0 0 0 0 0 1\r\n2.5 0 0 0 0 0 0 1\r\n")
    assert [pose.stamp_ns for pose in read_tum(path)] == [1_500_000_000, 2_500_000_000]


def test_small_deviations_of_the_norm_are_normalised(tmp_path):
    (pose,) = read_tum(write(tmp_path, "1 0 0 0 0 0 0.7035 0.7035"))
    np.testing.assert_allclose(pose.map_from_camera.rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 0 0 0 0 0 1", "found 7 fields, expected 8"),
        (f"1 {UNIT} 5", "found 9 fields"),
        ("1,0,0,0,0,0,0,1", "not commas"),
        ("1 0 x 0 0 0 0 1", "ty is 'x', expected a number"),
        ("1 0 1_0 0 0 0 0 1", "ty is '1_0'"),
        ("1 0 0 nan 0 0 0 1", "tz is nan"),
        ("1 0 0 0 0 0 -Inf 1", "qz is -Inf"),
        (f"NaN {UNIT}", "stamp is NaN"),
        ("1 1e999 0 0 0 0 0 1", "a float can hold"),
        ("1 0 0 0 0 0 0 0", "zero length"),
        ("1 0 0 0 0 0 0 1.02", "norm 1.0200"),
        ("1 0 0 0 0.5 0.5 0.5 0.45", "norm 0.97"),
        (f"1403636579763555527 {UNIT}", "divide nanoseconds by 1e9"),
        (f"1403636579763555 {UNIT}", "divide microseconds by 1e6"),
        (f"1403636579763.5 {UNIT}", "divide milliseconds by 1e3"),
        ("timestamp tx ty tz qx qy qz qw", "begin a line of names with #"),
        ("1,0,0,0,1,0,0,0", "quaternion is x y z w"),
        ("1 0 0 0 0 1 0 0 0 0 1 0", "matrices of KITTI"),
        (f"1e999999999 {UNIT}", "out of range"),
        (f"1e99999999999999999999999 {UNIT}", "out of range"),
        (f"9223372036.854775808 {UNIT}", "out of range"),
        (f"0.5 {UNIT}", "stamp 0.500000000 is there twice"),
        (f"0.5000000001 {UNIT}", "is there twice"),
        (f"0.25 {UNIT}", "stamp 0.250000000 goes back behind 0.500000000"),
    ],
)
def test_refused_with_file_and_line(tmp_path, line, words):
    path = write(tmp_path, "# header", f"0.5 {UNIT}", line)
    with pytest.raises(DatasetError, match=words) as caught:
        read_tum(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(DatasetError, match=r"no\.tum: cannot be read"):
        read_tum(tmp_path / "no.tum")
    (tmp_path / "image.tum").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DatasetError, match="is not text"):
        read_tum(tmp_path / "image.tum")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (StampedPose(5, Rigid3.identity()), "pose 2 .* there twice"),
        (StampedPose(4, Rigid3.identity()), "pose 2 .* goes back"),
        (StampedPose(6, Rigid3(np.eye(3), np.array([np.nan, 0.0, 0.0]))), "pose 2 .* finite"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, second, words):
    path = tmp_path / "poses.tum"
    path.write_text("old")
    with pytest.raises(DatasetError, match=words):
        write_tum(path, [StampedPose(5, Rigid3.identity()), second])
    assert path.read_text() == "old"
