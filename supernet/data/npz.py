"""NumPy archives with `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test`; `class_names` is optional."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory_base.documents import nearest
from factory_base.errors import ConfigError, DataError
from supernet.data.config import DataConfig
from supernet.data.images import split_from_arrays
from supernet.data.source_splits import Source, SourceSplit, check_distinct, located, numbered_names

Arrays = Mapping[str, NDArray[np.generic]]
_TRAIN = (("x_train", "y_train"), ("images", "labels"))
_TEST = (("x_test", "y_test"), ("images", "labels"))


def load_npz_source(config: DataConfig, folder: Path) -> Source:
    """The images in the archives that `config` names. Pickled objects are never loaded.

    Args:
        config: The `data` section, with source `npz`. The arrays are as `split_from_arrays` takes them.
        folder: Folder of the config file.

    Raises:
        ConfigError: A file is missing.
        DataError: A file is not an archive, lacks an array or holds pickled objects, an array has the wrong type or
            shape, or the class names of training and test data differ.
    """
    path = located(config.path or "", folder)
    arrays = _load(path, "path")
    class_names = _class_names(arrays, path)
    train = _source_split(arrays, _TRAIN, class_names, path)
    names = class_names or numbered_names(train.labels)
    test = None
    if config.test_path:
        test_path = located(config.test_path, folder)
        check_distinct([path], [test_path])
        test_arrays = _load(test_path, "test_path")
        if _class_names(test_arrays, test_path) not in (None, names):
            raise DataError(f"{test_path}: 'class_names' differ from those of the training data ({', '.join(names)})")
        test = _source_split(test_arrays, _TEST, names, test_path)
    elif "x_test" in arrays:
        test = _source_split(arrays, _TEST[:1], names, path)
    return Source(train=train, test=test, class_names=names)


def _load(path: Path, key: str) -> Arrays:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; set '{key}' to a NumPy archive (.npz)")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive fails in a dozen ways, some undocumented
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise DataError(f"{path}: holds pickled objects, which are never loaded; save plain arrays") from error
        raise DataError(f"{path}: is not a readable NumPy archive; write it with numpy.savez") from error


def _source_split(
    arrays: Arrays, pairs: tuple[tuple[str, str], ...], names: tuple[str, ...] | None, path: Path
) -> SourceSplit:
    """The split in the first of `pairs`, names of images and labels, that `arrays` holds."""
    for images, labels in pairs:
        if images in arrays and labels in arrays:
            count = None if names is None else len(names)
            return split_from_arrays(arrays[images], arrays[labels], count, f"{path} ({images}, {labels})")
    wanted = " or ".join(f"{images!r} with {labels!r}" for images, labels in pairs)
    raise DataError(
        f"{path}: lacks {wanted}; it holds {', '.join(arrays) or 'nothing'}; {nearest(pairs[0][0], arrays)}"
    )


def _class_names(arrays: Arrays, path: Path) -> tuple[str, ...] | None:
    if "class_names" not in arrays:
        return None
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U" or len(np.unique(names)) != len(names):
        raise DataError(f"{path}: 'class_names' is {names.dtype} of shape {names.shape}, expected distinct strings")
    return tuple(str(name) for name in names)
