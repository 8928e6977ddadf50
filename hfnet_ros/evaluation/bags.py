"""The name by which scripts written for former releases import what reads and writes bags: see `hfnet_ros.bags`."""

from hfnet_ros.bags import BagReader, BagWriter, read_ground_truth

__all__ = ["BagReader", "BagWriter", "read_ground_truth"]
