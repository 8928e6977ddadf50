"""Drive the relocalizer with a bag, the same every time, and write what the live node would say.

`open_sources` finds images, odometry and mounting, `Replay` yields an answer an image, in order or
as a live node would have kept up, and `AnswerRecorder` writes them into a bag.
"""

from hfnet_ros.replay.clock import SimulatedClock
from hfnet_ros.replay.driver import Replay
from hfnet_ros.replay.mounting import BagMounting, find_mounting
from hfnet_ros.replay.recorder import AnswerRecorder
from hfnet_ros.replay.sources import BagChoices, BagSources, open_camera, open_sources

__all__ = [
    "AnswerRecorder",
    "BagChoices",
    "BagMounting",
    "BagSources",
    "Replay",
    "SimulatedClock",
    "find_mounting",
    "open_camera",
    "open_sources",
]
