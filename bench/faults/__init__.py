"""Parts of bench/pose_faults.py."""
