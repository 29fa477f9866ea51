"""The work of commands outside the build: measure, model, onboard, import, write first configs, read telemetry."""
