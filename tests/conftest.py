"""Fixtures that the tests of several packages share."""

from postgresql_server import postgresql
from ssh_board import shared_ssh_board, ssh_board
from tiny_app import (
    app,
    built,
    children_seconds,
    edit_config,
    empty_app,
    factory,
    factory_process,
    published,
    start_factory,
    steps_done,
    tiny_config,
)

__all__ = [
    "app",
    "built",
    "children_seconds",
    "edit_config",
    "empty_app",
    "factory",
    "factory_process",
    "postgresql",
    "published",
    "shared_ssh_board",
    "ssh_board",
    "start_factory",
    "steps_done",
    "tiny_config",
]
