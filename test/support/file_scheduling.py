"""Which tests pytest-xdist gives to one worker: those of a file, which share what they build."""

import re

from xdist.scheduler import LoadFileScheduling


class FileScheduling(LoadFileScheduling):
    """Whole files in the order of collection; the maps of RedKitchen, built for minutes, part its tests."""

    def __init__(self, config, log):
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        kitchen = re.search(r"test_redkitchen\.py::.*\[(.+)\]", nodeid)
        return f"{file} {kitchen[1]}" if kitchen else file
