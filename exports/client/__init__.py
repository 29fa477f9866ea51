"""Files for an app to copy, one folder per language."""
