"""`factory verify`: check that a family is complete, unchanged, and computes what it should."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from factory_base.foreign import printable
from model_factory.commands.options import FamilyArgument, JsonOption

if TYPE_CHECKING:
    from exports.family.verify import VerifyReport

_DETAIL = 2000
"""The most characters of a check's detail that are printed; file names may have 255 each."""


def verify(family: FamilyArgument, as_json: JsonOption = False) -> None:
    """Check every digest, and run every model on the samples. Exit code 1 if there is any fault."""
    from exports.family.verify import verify_family

    outcome = verify_family(family)
    if as_json:
        typer.echo(verify_json(outcome))
    else:
        print_checks(outcome)
    raise typer.Exit(0 if outcome.ok else 1)


def print_checks(report: VerifyReport) -> None:
    """Print every check of a family, the faults last, then the result."""
    from factory_base.quantities import amount

    for check in sorted(report.checks, key=lambda check: not check.ok):
        print(f"{'ok   ' if check.ok else 'FAULT'}  {printable(check.name)}: {printable(check.detail, _DETAIL)}")
    faults = sum(not check.ok for check in report.checks)
    print(f"{amount(len(report.checks), 'check')}, {amount(faults, 'fault') if faults else 'all passed'}")


def verify_json(report: VerifyReport) -> str:
    """What `print_checks` shows, as JSON."""
    return json.dumps({"ok": report.ok, "checks": [asdict(check) for check in report.checks]}, indent=2)
