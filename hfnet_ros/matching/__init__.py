"""Match query keypoints to landmarks."""
