"""Latencies that apps report from the field."""
