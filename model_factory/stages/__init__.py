"""The stages of a build, one file each, and the one way a stage is cached."""
