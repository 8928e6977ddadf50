"""Estimate a camera pose from matches, and decide whether it may be believed."""
