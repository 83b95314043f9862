"""Normal values, detectors, calibration, explanation, and the signed bundle."""
