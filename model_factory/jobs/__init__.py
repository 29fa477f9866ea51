"""The work of commands outside the build: measure and onboard devices, import, write first configs, read telemetry."""
