"""Describe images: keypoints, descriptors, global descriptors."""
