"""Fixes and odometry in, where the robot is out; knows nothing of images."""
