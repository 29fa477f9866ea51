"""Entry point of the `factory` command: errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from unicodedata import category

from factory_base.errors import ConfigError, FactoryError
from factory_base.terminal import messages_as_lines, print_error, print_note

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

    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _check(given)
        with messages_as_lines():
            app(given, prog_name="factory")
    except FactoryError as error:
        print_error(error)
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
        print_error(f"{error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(1)


def _check(arguments: Sequence[str]) -> None:
    """Refuse arguments that a terminal would obey: messages about wrong arguments, which Typer prints, quote them."""
    for argument in arguments:
        if any(category(character) == "Cc" for character in argument):
            raise ConfigError(f"the argument {argument!r} has control characters; rename the file, or leave them out")


def _leave_interrupted() -> None:
    print_note("interrupted; run the same command again to continue where it stopped")
    sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
