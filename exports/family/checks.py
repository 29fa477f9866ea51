"""The checks of a verified family, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check with its name.

    Attributes:
        name: The name of the check.
        ok: Whether it passed.
        detail: One line for users.
        warning: Whether it passed with something that the author of the family should know.
    """

    name: str
    ok: bool
    detail: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """All checks of a family, in order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)
