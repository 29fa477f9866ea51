"""`factory verify`: check that a family is complete, unchanged, and computes what it should."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from factory_base.wording import counted
from model_factory.commands.options import FamilyArgument, JsonOption

if TYPE_CHECKING:
    from exports.family.checks import VerifyReport


PreviousOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FAMILY",
        help="The release before, its folder or its manifest: other content must have a higher release number.",
    ),
]


def verify(family: FamilyArgument, previous: PreviousOption = None, as_json: JsonOption = False) -> None:
    """Check a family and run its models.

    Every digest and the tiers are checked, and every model runs on the samples. Exit code 1 if there is any fault.
    """
    from exports.family.verify import verify_family

    outcome = verify_family(family, previous=previous)
    if as_json:
        print_json(verify_json(outcome))
    else:
        print_checks(outcome)
    raise typer.Exit(0 if outcome.ok else 1)


def print_checks(report: VerifyReport) -> None:
    """Print every check of a family, warnings and faults last, then the result."""
    for check in sorted(report.checks, key=lambda check: (not check.ok, check.warning)):
        mark = "FAULT" if not check.ok else "warn " if check.warning else "ok   "
        print_line(f"{mark}  {check.name}: {check.detail}")
    faults, warnings = sum(not check.ok for check in report.checks), sum(check.warning for check in report.checks)
    result = [counted(len(report.checks), "check"), counted(faults, "fault") if faults else "all passed"]
    print_line(", ".join(result + ([counted(warnings, "warning")] if warnings else [])))


def verify_json(report: VerifyReport) -> dict[str, Any]:
    """What `print_checks` shows, as a value for JSON."""
    return {"ok": report.ok, "checks": [asdict(check) for check in report.checks]}
