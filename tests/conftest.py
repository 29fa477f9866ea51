"""What tests of several packages share."""

from ssh_board import ssh_board

__all__ = ["ssh_board"]
