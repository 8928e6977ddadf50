"""Images that are in no file are written to some, once, so that workers can read them."""

import numpy as np

from hfnet_ros.building.results import with_files
from hfnet_ros.mapping.views import MappingImage

PICTURES = [
    np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    for seed, shape in enumerate([(20, 30, 3), (20, 30), (20, 30, 3)])
]


def test_pictures_come_back_as_they_are(tmp_path):
    file = tmp_path / "there.png"
    images = [
        MappingImage(f"bag {row}", 1000 + row, row, lambda picture=picture: picture)
        for row, picture in enumerate(PICTURES)
    ]
    found = with_files([MappingImage.of_file(file, "there", 7, 0), *images], tmp_path / "images")
    assert found[0].file == file
    for image, picture, before in zip(found[1:], PICTURES, images, strict=True):
        np.testing.assert_array_equal(image.read(), picture)
        assert (image.name, image.stamp_ns, image.camera_idx) == (
            before.name,
            before.stamp_ns,
            before.camera_idx,
        )


def test_what_is_there_is_not_written_again(tmp_path):
    images = [MappingImage("a", 0, 0, lambda: PICTURES[0])]
    (first,) = with_files(images, tmp_path / "images")
    before = first.file.stat().st_mtime_ns
    (again,) = with_files(images, tmp_path / "images")
    assert again.file == first.file
    assert again.file.stat().st_mtime_ns == before
    assert len(list((tmp_path / "images").iterdir())) == 1
