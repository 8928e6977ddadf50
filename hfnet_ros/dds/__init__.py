"""The wire protocol of ROS 2 without ROS 2: Cyclone DDS for transport, rosbags for types and CDR.

Importing it fails with `DdsError` where Cyclone DDS is missing or of another version.
"""

from hfnet_ros.dds.cyclone import check_private_names

check_private_names()
