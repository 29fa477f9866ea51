"""A folder with pictures and tables of them in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory_base.errors import ConfigError, DataError, FactoryError
from supernet.data.config import DataConfig
from supernet.data.sources import load_splits
from supernet.data.types import LabelKind, Splits

Rows = list[dict[str, Any]]


class TableFolder:
    """A folder with 30 pictures, `p/00.png` to `p/29.png`, each brighter than the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "p").mkdir()
        for number in range(30):
            pixels = np.full((4, 5, 3), 8 * number, dtype=np.uint8)
            pixels[0, 0] = 255 - 8 * number
            Image.fromarray(pixels).save(root / f"p/{number:02d}.png")

    def rows(self, count: int = 30, **columns: list[Any]) -> Rows:
        """The first `count` pictures with the labels cat, dog and emu in turn, and further columns."""
        rows = [{"image": f"p/{i:02d}.png", "label": ("cat", "dog", "emu")[i % 3]} for i in range(count)]
        return [{**row, **{name: values[i] for name, values in columns.items()}} for i, row in enumerate(rows)]

    def write(self, name: str, rows: Rows) -> Path:
        """Write a table in the format that its name states."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix in (".jsonl", ".ndjson"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            with path.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
        return path

    def load(self, rows: Rows | None = None, kind: LabelKind = "class", name: str = "t.csv", **keys: Any) -> Splits:
        """Write `rows`, if there are any, as `name`, and load the table."""
        if rows is not None:
            self.write(name, rows)
        config = DataConfig.model_validate({"source": "table", "path": name, "image_size": 4, **keys})
        return load_splits(config, self.root, seed=0, kind=kind)

    def refused(self, rows: Rows | None = None, kind: LabelKind = "class", name: str = "t.csv", **keys: Any) -> str:
        """The one-line message with which loading fails, without the path of the folder."""
        with pytest.raises(FactoryError) as caught:
            self.load(rows, kind, name, **keys)
        assert isinstance(caught.value, ConfigError | DataError)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(f"{self.root}/", "")


@pytest.fixture
def table(tmp_path: Path) -> TableFolder:
    """A folder for tables."""
    return TableFolder(tmp_path)
