"""Which tests pytest-xdist gives to one worker: those of a file, which share what they build."""

import re

from xdist.scheduler import LoadFileScheduling

# Tests that mostly wait, for a node or a process: of three workers and more one begins with them, and leaves the cores
# to the others meanwhile.
WAITING = ("test/contracts/", "test/building/test_ray_cluster.py")


class FileScheduling(LoadFileScheduling):
    """Whole files in the order of collection; the maps of RedKitchen, built for minutes, part its tests."""

    def __init__(self, config, log):
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        kitchen = re.search(r"test_redkitchen\.py::.*\[(.+)\]", nodeid)
        return f"{file} {kitchen[1]}" if kitchen else file

    def _assign_work_unit(self, node):
        waits = len(self.nodes) > 2 and node is self.nodes[-1]
        of_its_kind = (file for file in self.workqueue if file.startswith(WAITING) == waits)
        self.workqueue.move_to_end(next(of_its_kind, next(iter(self.workqueue))), last=False)
        super()._assign_work_unit(node)
