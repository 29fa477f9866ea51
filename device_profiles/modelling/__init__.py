"""Modelled profiles: computed from published figures of a device."""
