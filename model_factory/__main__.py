"""Entry point of the `factory` command: errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from factory_base.errors import FactoryError

_INTERRUPTED = 130
"""The exit code that shells give to a process that Ctrl-C ended: 128 plus the number of the signal."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process.

    Args:
        arguments: The arguments that follow `factory`; by default those of the process.
    """
    # OpenMP threads that spin while they wait make two processes on the same cores many times slower than two in turn.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from model_factory.cli import app

    try:
        app(arguments, prog_name="factory")
    except FactoryError as error:
        print("error: " + "\n  ".join(error.lines()), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _leave_interrupted()
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:  # Typer turns an interrupt into this exit code
            _leave_interrupted()
        raise
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def _leave_interrupted() -> None:
    print("interrupted; run the same command again to continue where it stopped", file=sys.stderr)
    sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
