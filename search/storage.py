"""The storages of Optuna: SQLite files and databases, and the errors that they raise."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from factory_base.errors import FactoryError

_OPENING_WAITS: Final = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each repetition if another process was making the tables, which takes it about a second."""

STORAGE_ERRORS: Final = (StorageInternalError, SQLAlchemyError, ImportError, OSError)
"""What Optuna's storages raise when they are used: a failed commit, any other error of the database, a missing
database driver, and a file or connection that cannot be opened."""

_OPENING_ERRORS: Final = (*STORAGE_ERRORS, ValueError, LookupError, RuntimeError)
"""What they raise, in addition, when they are opened: a URL with an invalid port (`ValueError`) or with braces, which
Optuna takes for a template (`LookupError`), and tables of another version of Optuna (`RuntimeError`)."""


def open_storage(storage: str | Path, sleep: Callable[[float], None] = time.sleep) -> RDBStorage:
    """The storage at a URL or in an SQLite file, which is made if it is not there.

    Optuna does not expect that another process makes the tables at the same time, so opening is then repeated.

    Raises:
        FactoryError: It cannot be opened.
    """
    with storage_errors(storage, _OPENING_ERRORS):
        for wait in _OPENING_WAITS:
            try:
                return _opened(storage)
            except SQLAlchemyError as error:
                if not (isinstance(error, IntegrityError) or "already exists" in str(error)):
                    raise
                sleep(wait)
        return _opened(storage)


def _opened(storage: str | Path) -> RDBStorage:
    return RDBStorage(storage) if isinstance(storage, str) else _sqlite(storage)


def _sqlite(path: Path) -> RDBStorage:
    """The storage in the file `path`, which is opened by its name and not by a URL.

    A URL, which Optuna takes for a template, gives a meaning to several characters that the name of a folder may have.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    resolved = path.resolve()
    return RDBStorage(
        "sqlite://",
        engine_kwargs={
            "creator": lambda: sqlite3.connect(resolved, check_same_thread=False),
            "poolclass": QueuePool,  # the default for this URL, which names no file, is one connection per thread
        },
    )


def may_pass(error: Exception) -> bool:
    """Whether the cause of an error lies outside the database, so that the same use may succeed later."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (OperationalError, InterfaceError, OSError)):
            return True
        cause = cause.__cause__
    return False


def shown_storage(storage: str | Path) -> str:
    """The storage in messages, without a password."""
    return str(storage) if isinstance(storage, Path) else repr(re.sub(r"://[^@/]*@", "://***@", storage))


@contextmanager
def storage_errors(storage: str | Path, errors: tuple[type[Exception], ...] = STORAGE_ERRORS) -> Iterator[None]:
    """Turn `errors` into one line that names the storage and the first cause, which the storages wrap several times."""
    try:
        yield
    except errors as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        reason = str(root).split("\n")[0]
        advice = (
            "check `storage` in the search section"
            if isinstance(storage, str)
            else "move the file away if it is damaged, and its subnets are scored again"
        )
        raise FactoryError(f"search storage {shown_storage(storage)} cannot be used: {reason}; {advice}") from error
