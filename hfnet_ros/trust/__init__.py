"""How far a map and its covariances can be trusted: self-test and calibration."""
