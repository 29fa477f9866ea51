"""Tables from outside: how they are written is found or refused, never guessed, and nothing in them is trusted."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from device_profiles.few_shot.network_tables import read_measurements
from device_profiles.foreign import table_file
from device_profiles.foreign.table_file import open_table
from device_profiles.foreign.written_numbers import find_notation, numbers_of
from factory_base.errors import ConfigError, ForeignError
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace((Choice(name="width", options=(8, 16)), Choice(name="expand", options=(1.5, 4.0))))
PLAIN = f"network,latency_ms,width,expand\n{SPACE.smallest.id},0.052,8,1.5\n{SPACE.largest.id},1.25,16,4.0\n"
GERMAN = PLAIN.replace(",", ";").replace(".", ",")
PARQUET = io.BytesIO()
parquet.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", None]}), PARQUET)
PARQUET = PARQUET.getvalue()


def arrow(*texts: str | None) -> pa.Array:
    return pa.array(texts, type=pa.string())


def rows_of(path: Path) -> list[list[object]]:
    table = open_table(path)
    torn: list[str] = []
    found = [list(batch.values()) for batch in table.batches(table.columns, torn)]
    assert not torn
    return [row for columns in found for row in zip(*(column.to_pylist() for column in columns), strict=True)]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.encode("utf-16-be").join([b"\xfe\xff", b""]),
        PLAIN.replace(",", ";").encode(),
        GERMAN.encode(),
        GERMAN.encode("utf-16"),
        ("\n" + PLAIN.replace("\n", "\n\n")).strip().encode(),
        gzip.compress(PLAIN.encode()),
    ],
    ids=[
        "plain",
        "BOM, CRLF",
        "UTF-16 tabs",
        "UTF-16 BE",
        "semicolons",
        "German",
        "German UTF-16",
        "empty lines",
        "gz",
    ],
)
def test_a_sheet_is_the_same_in_whatever_way_a_program_saved_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    found = read_measurements(path, SPACE)
    assert found.subnets == (SPACE.smallest, SPACE.largest)
    assert found.latency_us.tolist() == pytest.approx([52, 1250])
    german = b"0,052" in content.replace(b"\0", b"")
    assert found.notes == (("numbers are read with a decimal comma: 0,052 is 0.052",) if german else ())


@pytest.mark.parametrize(
    ("texts", "numbers", "example"),
    [
        (["1.5", "2"], [1.5, 2], ""),
        (["0,052"], [0.052], "0,052"),
        (["1,234", "5,5"], [1.234, 5.5], "5,5"),
        (["1,234", "1,234.5"], [1234, 1234.5], "1,234.5"),
        (["1.234,5", "1.234"], [1234.5, 1234], "1.234,5"),
        (["1,234,567", "8"], [1234567, 8], "1,234,567"),
        (["9" * 5000, "1e999", "-1e999", "-inf"], [np.inf, np.inf, -np.inf, -np.inf], ""),
        (["", "nan", "0x10", "1_0", "8 ms", None, "١"], [np.nan] * 7, ""),
    ],
)
def test_numbers_are_read_as_their_table_writes_them(texts, numbers, example: str) -> None:
    array = arrow(*texts)
    notation = find_notation(array, "t.csv")
    assert notation.example == example
    np.testing.assert_array_equal(numbers_of(array, notation), numbers)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["1,234"], "1,234 may be 1.234 or 1234; write numbers with a decimal point"),
        (["1,5", "1,234,567"], "numbers are written in two ways, such as 1,5 and 1,234,567"),
        (["0,5", "0.5"], "numbers are written in two ways, such as 0,5 and 0.5"),
    ],
)
def test_numbers_that_can_be_read_in_two_ways_are_refused(texts, words: str) -> None:
    with pytest.raises(ForeignError, match=words):
        find_notation(arrow(*texts), "t.csv")


def test_any_texts_are_numbers_or_refused() -> None:
    rng = random.Random(0)
    for _ in range(300):
        texts = ["".join(rng.choices("0123456789.,-+eE naif", k=rng.randrange(12))) for _ in range(rng.randrange(6))]
        with contextlib.suppress(ForeignError):
            assert numbers_of(arrow(*texts), find_notation(arrow(*texts), "t.csv")).shape == (len(texts),)


@pytest.mark.parametrize("start", [b"", b"a,b\n", b"\xff\xfe", b"\x1f\x8b", b"PAR1", PARQUET], ids=len)
def test_any_bytes_are_a_table_or_refused(start: bytes, tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "any.csv"
    for _ in range(60):
        data = bytearray(start + (b"" if start is PARQUET else rng.randbytes(rng.randrange(200))))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(ForeignError):
            rows_of(path)


REFUSED = {
    "nothing": (b"", "the file is empty"),
    "a workbook": (b"PK\x03\x04\0\0", "workbooks are not read"),
    "Latin-1": (b"a,b\n1,\xfc\n", "neither Parquet nor UTF-8 text"),
    "cut Parquet": (b"PAR1 cut", "damaged, or not Parquet or CSV"),
    "cut gzip": (gzip.compress(PLAIN.encode())[:30], "damaged|first line"),
    "twice": (b"a,a\n1,2\n", "the column 'a' is there twice"),
    "columns": (b",".join([b"x"] * 10_001) + b"\n", "has 10,001 columns, at most 10,000"),
    "no line": (b'a,b\n1,"' + b"x" * 3000, "is a quotation mark not closed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_damaged_table_is_refused_in_one_line(case: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(table_file, "BLOCK_BYTES", 1000 if case == "no line" else table_file.BLOCK_BYTES)
    content, words = REFUSED[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ForeignError, match=words) as caught:
        rows_of(path)
    assert str(caught.value).isprintable()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_measurements(tmp_path / "pipe.csv", SPACE)


def test_a_row_with_too_many_cells_is_counted(tmp_path: Path) -> None:
    path, torn = tmp_path / "t.csv", []
    path.write_text("a,b\n1,2\n3\n4,5,6\n7,8\n")
    (batch,) = open_table(path).batches(["b"], torn)
    assert batch["b"].to_pylist() == ["2", "8"]
    assert torn == ["row 3 has 1 cells, but the header has 2", ""]
    path.write_text(PLAIN + "x,1\n")
    with pytest.raises(ConfigError, match="row 4 has 2 cells, but the header has 4; correct it"):
        read_measurements(path, SPACE)


def write_parquet(path: Path, metadata: dict[str, str] | None = None, **columns: object) -> Path:
    table = pa.table({"latency_ms": [0.05, 1.0], "width": [8, 16], "expand": [1.5, 4.0], **columns})
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_broken_metadata_of_pandas_do_not_matter(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", {"pandas": '{"index_columns": [}'})
    assert read_measurements(path, SPACE).latency_us.tolist() == pytest.approx([50, 1000])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"expand": [[1.5], [4.0]]}, "the column 'expand' holds list<.*>; write one number or text"),
        ({"latency_ms": [True, False]}, "the column 'latency_ms' holds bool; write numbers"),
        ({"latency_ms": [1e300, 1.0]}, "row 1: latency_ms 1e.300 is not a latency between 1 ns and 12 days"),
        ({"rows": [1e300, 1.0]}, r"row 1: the column rows holds 1e.300; every value must be 1 or more, and at most"),
        ({"rows": [1.0, float("nan")]}, "row 2: the column rows holds nan"),
    ],
)
def test_parquet_of_the_wrong_types_or_sizes_is_refused(columns, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        read_measurements(write_parquet(tmp_path / "t.parquet", **columns), SPACE)


def test_what_parquet_says_of_its_size_is_checked_before_it_is_read(tmp_path: Path, monkeypatch) -> None:
    path = write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(table_file, "MOST_ROWS", 1)
    with pytest.raises(ConfigError, match="has 2 rows, at most 1 are read"):
        read_measurements(path, SPACE)
    monkeypatch.undo()
    monkeypatch.setattr("device_profiles.few_shot.network_tables._MOST_CELLS", 5)
    with pytest.raises(ConfigError, match="more than 5 cells"):
        read_measurements(path, SPACE)
