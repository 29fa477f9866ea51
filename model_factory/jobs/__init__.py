"""What commands do beside the build: measure, onboard, import, resolve, look at the field."""
