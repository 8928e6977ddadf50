import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag2.reader import zstd

from hfnet_ros.bags.compression import decompress_chunk

CONTENT = np.random.default_rng(0).integers(0, 16, 500_000, np.uint8).tobytes()
COMPRESS = {"zstd": zstd.compress, "lz4": lz4.frame.compress}


@pytest.mark.parametrize("name", COMPRESS)
def test_a_block_comes_back_whole_or_as_far_as_it_goes(name):
    block = COMPRESS[name](CONTENT)
    assert decompress_chunk(block, len(CONTENT), name) == CONTENT
    part = decompress_chunk(block[: len(block) // 2], len(CONTENT), name, cut_off=True)
    assert 100_000 < len(part) < 400_000
    assert CONTENT.startswith(part)


@pytest.mark.parametrize("name", COMPRESS)
def test_damage_is_one_kind_of_error(name):
    block = COMPRESS[name](CONTENT)
    with pytest.raises(ValueError, match=name):
        decompress_chunk(block[: len(block) // 2], len(CONTENT), name)
    for cut_off in (False, True):
        with pytest.raises(ValueError, match=name):
            decompress_chunk(b"none" + block[4:], len(CONTENT), name, cut_off=cut_off)


def test_an_unknown_compression_is_refused():
    assert decompress_chunk(CONTENT, len(CONTENT), "") == CONTENT
    with pytest.raises(ValueError, match="compression 'bz2' is unknown"):
        decompress_chunk(CONTENT, len(CONTENT), "bz2")


@pytest.mark.parametrize("name", COMPRESS)
def test_no_more_is_unpacked_than_a_block_says_or_may(name):
    block = COMPRESS[name](CONTENT)
    assert decompress_chunk(block + block, 2 * len(CONTENT), name) == 2 * CONTENT
    with pytest.raises(ValueError, match="more than it says"):
        decompress_chunk(block, len(CONTENT) - 1, name)
    with pytest.raises(ValueError, match="expected 268435456 at most"):
        decompress_chunk(block, 1 << 40, name)


def test_rosbags_unpacks_with_the_same_bounds():
    from rosbags.rosbag2.storage_mcap import DECOMPRESSORS

    import hfnet_ros.bags.storage  # noqa: F401

    for name, compress in COMPRESS.items():
        assert DECOMPRESSORS[name](compress(CONTENT), len(CONTENT)) == CONTENT
        with pytest.raises(ValueError, match="more than it says"):
            DECOMPRESSORS[name](compress(CONTENT), 1000)
