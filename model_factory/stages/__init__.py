"""The stages of a build, one file each, and the one way in which stages are cached."""
