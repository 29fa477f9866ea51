"""Runs the command line: `python -m model_factory_client launch ...`."""

from .cli import command

command()
