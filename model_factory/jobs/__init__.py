"""The work of commands outside the build: measure, model and onboard devices, import, write configs, read telemetry."""
