"""Profiles computed from published figures of a device."""
