"""The resolver, the preprocessing and a launch example for apps in Python."""
