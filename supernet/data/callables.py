"""Data from the user's own code, named by an import path `package.module:callable`."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError, FactoryError
from factory_base.foreign import one_line
from supernet.data.class_names import checked_class_names
from supernet.data.config import DataConfig
from supernet.data.images import split_from_arrays
from supernet.data.source_splits import Source
from supernet.data.text_source import TextSource, split_from_texts
from supernet.data.types import LabelKind, RawDataset


def load_callable_source(config: DataConfig, folder: Path, kind: LabelKind) -> Source:
    """Call `config.source` with `config.options` and check what it returns.

    It must return a `RawDataset`, or a tuple `(train_images, train_labels, test_images, test_labels, class_names)` with
    arrays as `supernet.data.images.split_from_arrays` takes them. Modules beside the config are importable too. The
    callable runs in the folder of the config, so relative paths in `config.options` start there, as all others do.

    Raises:
        ConfigError: The module or the callable does not exist.
        DataError: The callable fails or returns something else.
    """
    return _source(_made(config, folder), config.source, kind)


def load_callable_texts(config: DataConfig, folder: Path, kind: LabelKind) -> TextSource:
    """As `load_callable_source`, but the tuple has lists of strings in place of images."""
    made, name = _made(config, folder), config.source
    if not isinstance(made, tuple) or len(made) != 5:
        raise DataError(
            f"{name}: returned {_described(made)}, expected the tuple "
            "(train_texts, train_labels, test_texts, test_labels, class_names)"
        )
    *splits, given = made
    names = _class_names(given, name)
    train = split_from_texts(splits[0], splits[1], len(names), f"{name} (train)", kind)
    test = split_from_texts(splits[2], splits[3], len(names), f"{name} (test)", kind)
    return TextSource(train=train, test=test, class_names=names)


def _made(config: DataConfig, folder: Path) -> object:
    with importable(folder), chdir(folder):
        make = import_callable(config.source, folder, "the data set")
        try:
            made: object = make(**config.options)
        except FactoryError:
            raise
        except (Exception, SystemExit) as error:  # `sys.exit(0)` would look like success
            reason = one_line(error) or "no message"
            raise DataError(f"{config.source}: failed with {type(error).__name__}: {reason}") from error
    return made


def _source(made: object, name: str, kind: LabelKind) -> Source:
    if isinstance(made, RawDataset):
        arrays = (made.train.images, made.train.labels, made.test.images, made.test.labels, made.class_names)
    elif isinstance(made, tuple) and len(made) == 5:
        arrays = made
    else:
        raise DataError(
            f"{name}: returned {_described(made)}, expected a RawDataset or the tuple "
            "(train_images, train_labels, test_images, test_labels, class_names)"
        )
    *splits, given = arrays
    names = _class_names(given, name)
    train = split_from_arrays(splits[0], splits[1], len(names), f"{name} (train)", kind)
    test = split_from_arrays(splits[2], splits[3], len(names), f"{name} (test)", kind)
    return Source(train=train, test=test, class_names=names)


def _described(made: object) -> str:
    return f"a tuple of {len(made)}" if isinstance(made, tuple) else type(made).__name__


def _class_names(given: object, name: str) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(n, str) for n in given):
        raise DataError(f"{name}: class_names must be a list or tuple of distinct strings, got {given!r:.80}")
    return checked_class_names(given, name)


def data_version(config: DataConfig, folder: Path) -> str | int | float | None:
    """The version of the data behind a callable source: what its attribute `version`, a callable, returns.

    It runs in the folder of the config, with `config.options` if it takes arguments, whenever a build compares the data
    with those of its results, so it should be quick. None if the source has no such attribute, is not callable, or
    cannot be imported, which loading it reports.

    >>> def load(root): ...
    >>> load.version = lambda root: "2024-05"

    Raises:
        DataError: It fails, or returns anything but a text or a finite number.
    """
    if not config.is_callable:
        return None
    with importable(folder), chdir(folder):
        try:
            version = getattr(import_callable(config.source, folder, "the data set"), "version", None)
        except ConfigError:
            return None
        if version is None:
            return None
        name = f"{config.source}.version"
        if not callable(version):
            raise DataError(
                f"{name}: is {one_line(repr(version))}, expected a function that returns a text or a number"
            )
        try:
            found = version(**config.options) if inspect.signature(version).parameters else version()
        except FactoryError:
            raise
        except (Exception, SystemExit) as error:
            reason = one_line(error) or "no message"
            raise DataError(f"{name}: failed with {type(error).__name__}: {reason}") from error
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    if not is_number and not (isinstance(found, str) and found):
        raise DataError(f"{name}: returned {one_line(repr(found))}, expected a text or a finite number")
    stated: str | int | float = found
    return stated


def import_callable(source: str, folder: Path, product: str) -> Callable[..., Any]:
    """The callable that the import path `source`, `package.module:callable`, names.

    Args:
        source: The import path.
        folder: The config's folder, for messages; see `importable`.
        product: What the callable returns, for messages.

    Raises:
        ConfigError: The module or the callable does not exist.
    """
    module_name, _, attribute = source.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        hint = f"install it, or put it beside the config in {folder}"
        raise ConfigError(
            f"{source}: cannot be imported ({type(error).__name__}: {one_line(error) or 'no message'}); {hint}"
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"{source}: module {module_name!r} has no {attribute!r}; {nearest(attribute, vars(module))}")
    if not callable(found):
        raise ConfigError(f"{source}: is a {type(found).__name__}, expected a callable that returns {product}")
    return found  # type: ignore[no-any-return]


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Make the modules in `folder` importable; all other modules take precedence."""
    entry = str(folder.resolve())
    added = entry not in sys.path
    if added:
        sys.path.append(entry)
    try:
        yield
    finally:
        if added:
            sys.path.remove(entry)
