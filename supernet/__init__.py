"""Search spaces, model spaces, weight sharing, training, calibration, data. Knows no device, no engine, no Optuna."""
