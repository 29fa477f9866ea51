"""The storages of Optuna: SQLite and journal files, databases and gRPC proxies, and the errors that they raise."""

from __future__ import annotations

import importlib
import re
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import Connection, event
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from factory_base.errors import FactoryError

_OPENING_WAITS: Final = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each repetition if another process was making the tables, which takes it about a second."""

_DRIVERS: Final = {"pg8000": "postgresql", "grpc": "grpc"}
"""The extra that installs each package with which a storage is reached."""

_JOURNAL, _GRPC = "journal:", "grpc://"
_GRPC_READY_S = 10.0

_ERRORS: Final = (StorageInternalError, SQLAlchemyError, ImportError, OSError)
"""What Optuna's storages raise when they are used: a failed commit, any other error of the database, a missing
database driver, and a file or connection that cannot be opened."""

_OPENING_ERRORS: Final = (ValueError, LookupError, RuntimeError)
"""What they raise, in addition, when they are opened: a URL with an invalid port (`ValueError`) or with braces, which
Optuna takes for a template (`LookupError`), and tables of another version of Optuna (`RuntimeError`)."""


def known_errors(*, opening: bool = False) -> tuple[type[Exception], ...]:
    """What storages raise, gRPC included if it is in use; `opening` adds what they raise when they are opened."""
    grpc = sys.modules.get("grpc")
    return (*_ERRORS, *(() if grpc is None else (grpc.RpcError,)), *(_OPENING_ERRORS if opening else ()))


def open_storage(storage: str | Path, sleep: Callable[[float], None] = time.sleep) -> BaseStorage:
    """The storage at a URL or in an SQLite file, which is made if it is not there.

    Besides the URLs of databases there are `journal:///PATH`, a journal file of Optuna, which several machines can use
    on a network file system, and `grpc://HOST:PORT`, a proxy that `optuna.storages.run_grpc_proxy_server` runs.

    Optuna does not expect that another process makes the tables at the same time, so opening is then repeated.

    Raises:
        FactoryError: It cannot be opened.
    """
    with storage_errors(storage, opening=True):
        for wait in _OPENING_WAITS:
            try:
                return _opened(storage)
            except SQLAlchemyError as error:
                if not (isinstance(error, IntegrityError) or "already exists" in str(error)):
                    raise
                sleep(wait)
        return _opened(storage)


def _opened(storage: str | Path) -> BaseStorage:
    if not isinstance(storage, str):
        return _sqlite(storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if storage.startswith(_JOURNAL):
            return JournalStorage(JournalFileBackend(_journal_file(storage)))
        if storage.startswith(_GRPC):
            return _proxy(storage)
    if storage.startswith("sqlite"):
        return _locking(RDBStorage(storage, engine_kwargs={"connect_args": {"isolation_level": None}}))
    return RDBStorage(storage)


def _journal_file(storage: str) -> str:
    """The path in `journal:///PATH`; a relative one is refused, as workers have different working directories."""
    path = storage.removeprefix(_JOURNAL)
    if not path.startswith("///"):
        raise ValueError("a journal file is written journal:///PATH, with an absolute path")
    return path.removeprefix("//")


def _proxy(storage: str) -> BaseStorage:
    match = re.fullmatch(r"grpc://([^/:]+):([0-9]{1,5})/?", storage)
    if match is None:
        raise ValueError("a gRPC proxy is written grpc://HOST:PORT")
    importlib.import_module("grpc")  # so that a missing package is named, which Optuna puts off
    from optuna.storages import GrpcStorageProxy

    proxy = GrpcStorageProxy(host=match[1], port=int(match[2]))
    try:
        proxy.wait_server_ready(timeout=_GRPC_READY_S)
    except Exception:  # the class differs between versions of gRPC, and has no message
        raise OSError(f"no gRPC proxy answers within {_GRPC_READY_S:g} s") from None
    return proxy


def _sqlite(path: Path) -> RDBStorage:
    """The storage in the file `path`, which is opened by its name and not by a URL.

    A URL, which Optuna takes for a template, gives a meaning to several characters that the name of a folder may have.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    resolved = path.resolve()
    return _locking(
        RDBStorage(
            "sqlite://",
            engine_kwargs={
                "creator": lambda: sqlite3.connect(resolved, check_same_thread=False, isolation_level=None),
                "poolclass": QueuePool,  # the default for this URL, which names no file, is one connection per thread
            },
        )
    )


def _locking(storage: RDBStorage) -> RDBStorage:
    """`storage`, an SQLite file, but every transaction begins with the lock for writing.

    Databases lock the row of a trial while one process changes its state. SQLite has no such locks, and the module of
    Python begins a transaction only with the first change, so two processes could both claim a trial. So connections
    leave transactions to this function (`isolation_level` None).
    """

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "begin", begin)
    return storage


def close_storage(storage: BaseStorage) -> None:
    """Close the connections that `open_storage` opened."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()
    elif not isinstance(storage, JournalStorage):
        storage.close()  # type: ignore[attr-defined]  # of a proxy


def may_pass(error: Exception) -> bool:
    """Whether the cause of an error lies outside the database, so that the same use may succeed later."""
    grpc = sys.modules.get("grpc")
    outside = (OperationalError, InterfaceError, OSError, *(() if grpc is None else (grpc.RpcError,)))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, outside):
            return True
        cause = cause.__cause__
    return False


def shown_storage(storage: str | Path) -> str:
    """The storage in messages, without a password."""
    return str(storage) if isinstance(storage, Path) else repr(re.sub(r"://[^@/]*@", "://***@", storage))


@contextmanager
def storage_errors(storage: str | Path, *, opening: bool = False) -> Iterator[None]:
    """Turn errors into one line that names the storage and the first cause, which the storages wrap several times.

    Args:
        storage: The storage.
        opening: Whether it is opened, which raises further errors.
    """
    try:
        yield
    except known_errors(opening=opening) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        reason = str(root).split("\n")[0]
        raise FactoryError(
            f"search storage {shown_storage(storage)} cannot be used: {reason}; {_advice(storage, root)}"
        ) from error


def _advice(storage: str | Path, root: BaseException) -> str:
    if isinstance(storage, Path):
        return "move the file away if it is damaged, and its subnets are scored again"
    missing = root.name if isinstance(root, ModuleNotFoundError) else None
    if missing in _DRIVERS:
        return f"install it with pip install -e '.[{_DRIVERS[missing]}]'"
    return "check `storage` in the search section"
