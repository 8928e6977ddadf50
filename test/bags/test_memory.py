"""A bag is streamed: what is in memory at once does not depend on its size."""

import tracemalloc

import pytest

from hfnet_ros.bags import BagReader, CameraFrames

IMAGE_BYTES = 640 * 480
NUM_IMAGES = 80


@pytest.fixture
def large_entries(messages, entries, stamp_of):
    """80 images of 300 kB, the bytes of one under many stamps."""
    info, image = entries[0], entries[1]
    cdr = bytearray(messages.serialize(image[3], image[1]))
    repeated = [info]
    for index in range(NUM_IMAGES):
        sec, nanosec = divmod(stamp_of(index), 10**9)
        cdr[4:12] = sec.to_bytes(4, "little") + nanosec.to_bytes(4, "little")
        repeated.append((image[0], image[1], stamp_of(index), bytes(cdr)))
    return repeated


@pytest.mark.parametrize(("storage", "is_cut"), [("mcap", False), ("mcap", True), ("sqlite3", False)])
def test_frames_are_not_gathered(tmp_path, write_bag, large_entries, storage, is_cut):
    folder = write_bag(tmp_path / "bag", large_entries, storage)
    if is_cut:
        file = folder / "bag.mcap"
        file.write_bytes(file.read_bytes()[:-100])
    tracemalloc.start()
    try:
        with BagReader(folder) as bag:
            count = sum(1 for _ in CameraFrames(bag))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == NUM_IMAGES
    # A chunk of four as it is in the file and as messages, and four frames that are held to sort them.
    assert peak < NUM_IMAGES * IMAGE_BYTES / 3
