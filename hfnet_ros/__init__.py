"""Hierarchical visual relocalization: images in, honest poses out.

Importing this package is cheap on purpose: no network runtime, no ROS, no solver is
loaded until the step that needs it.
"""

import os
from pkgutil import extend_path

# A colcon workspace generates `hfnet_ros.msg` and `hfnet_ros.srv` next to the installed
# package; extending the path lets a source checkout find them.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

# From 1.29 on ONNX Runtime reports to its maker, and keeps a queue of that in the user's cache, unless this
# stands in the environment before it is loaded; see also `inference/onnxruntime_library.py`.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
