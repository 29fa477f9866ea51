"""Telemetry: latencies that apps report from the field, and what they say about each kind of device."""
