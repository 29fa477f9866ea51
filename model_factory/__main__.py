"""Entry point of the `factory` command: errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

from factory_base.errors import FactoryError
from factory_base.terminal import messages_as_lines, print_error, print_note

if TYPE_CHECKING:
    import typer

_INTERRUPTED = 130
"""The exit code that shells give to a process that Ctrl-C ended: 128 plus the number of the signal."""


@runtime_checkable
class _WrongArguments(Protocol):
    """Typer's error about arguments. Its class is Click's in some releases of Typer, and Typer's own in others."""

    exit_code: int
    ctx: typer.Context | None

    def format_message(self) -> str: ...


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process.

    Args:
        arguments: The arguments that follow `factory`; by default those of the process.
    """
    # OpenMP threads that spin while they wait make two processes on the same cores many times slower than two in turn.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from model_factory.cli import app

    try:
        with messages_as_lines():
            code = app(arguments, prog_name="factory", standalone_mode=False) or 0
    except FactoryError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _leave_interrupted()
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print_error(f"{error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _WrongArguments):
            raise
        _leave_with_usage(error)
    if code == _INTERRUPTED:  # Typer turns an interrupt into this exit code
        _leave_interrupted()
    sys.exit(code)


def _leave_with_usage(error: _WrongArguments) -> NoReturn:
    """Exit with what is wrong with the arguments, in one line."""
    command = error.ctx.command_path if error.ctx else "factory"
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    print_error(f"{message}{_given(error)}; see `{command} --help`")
    sys.exit(error.exit_code)


def _given(error: object) -> str:
    """The argument that pydantic refused, which its message does not name; "" for any other error."""
    errors = getattr(getattr(error, "__cause__", None), "errors", None)
    if errors is None or not isinstance(given := errors()[0].get("input"), str) or repr(given) in str(error):
        return ""
    return f", got {given!r}"


def _leave_interrupted() -> NoReturn:
    print_note("interrupted; run the same command again to continue where it stopped")
    sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
