"""Hierarchical visual relocalization: images in, honest poses out.

Importing this package is cheap on purpose: no network runtime, no ROS, no solver is
loaded until the step that needs it.
"""

from pkgutil import extend_path

# A colcon workspace generates `hfnet_ros.msg` and `hfnet_ros.srv` next to the installed
# package; extending the path lets a source checkout find them.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
