"""Tables as sources of images and texts."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory_base.errors import ConfigError, DataError
from supernet.data.config import DataConfig
from supernet.data.image_form import ImageForm
from supernet.data.table.images import MissingFilesError
from supernet.data.table.source import TextSource, load_table_source, load_table_texts


def numbers_of(part: Any) -> list[int]:
    """The number of the picture that each image shows, by its brightness."""
    return [round(float(image[0, 2, 2]) / 8) for image in part.images]


def texts(table: Any, rows: Any, name: str = "t.csv", **keys: Any) -> TextSource:
    table.write(name, rows)
    section = {"source": "table", "path": name, "text_column": "text", **keys}
    return load_table_texts(DataConfig.model_validate(section), table.root, "class")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.parquet"])
def test_every_format_gives_the_same_images_and_labels(table: Any, name: str) -> None:
    splits = table.load(table.rows(), name=name)
    assert splits.class_names == ("cat", "dog", "emu")
    assert splits.digest == table.load(table.rows(), name="other.csv").digest
    for part in (splits.train, splits.heldout, splits.test):
        assert [number % 3 for number in numbers_of(part)] == part.labels.tolist()


def test_images_in_a_parquet_column_are_those_of_the_files(table: Any) -> None:
    rows = table.rows()
    embedded = [{**row, "image": (table.root / row["image"]).read_bytes()} for row in rows]
    assert table.load(embedded, name="t.parquet").digest == table.load(rows).digest


@pytest.mark.parametrize("path", ["shards", "shards/*.parquet", "shards/part-?.parquet"])
def test_shards_in_a_folder_or_a_glob_are_one_table(table: Any, path: str) -> None:
    rows = table.rows()
    for shard in range(3):
        moved = [{**row, "image": f"../{row['image']}"} for row in rows[10 * shard : 10 * shard + 10]]
        table.write(f"shards/part-{shard}.parquet", moved)
    assert table.load(name=path).digest == table.load(rows).digest


def test_paths_start_at_the_folder_of_each_table_and_may_be_absolute(table: Any) -> None:
    rows = table.rows()
    for row in rows[::2]:
        row["image"] = str(table.root / row["image"])
    table.write("b/test.csv", [{**row, "image": f"../{row['image']}"} for row in table.rows(9)[1::2]])
    splits = table.load(rows[:1] + rows[9:], test_path="b/test.csv")
    assert numbers_of(splits.test) == [1, 3, 5, 7]


def test_files_named_after_splits_are_the_splits(table: Any) -> None:
    table.write("d/train.csv", [{**row, "image": f"../{row['image']}"} for row in table.rows(24)])
    table.write("d/test.csv", [{**row, "image": f"../{row['image']}"} for row in table.rows()[24:]])
    splits = table.load(name="d")
    assert numbers_of(splits.test) == list(range(24, 30))
    assert splits.notes == ("data: training: 24 images in 1 file (train.csv); test: 6 images in 1 file (test.csv)",)


def test_semicolons_and_a_byte_order_mark_of_spreadsheets_are_read(table: Any) -> None:
    lines = [f"{row['image']};{row['label']}" for row in table.rows()]
    (table.root / "t.csv").write_text("\n".join(["\ufeffimage;label", *lines]), encoding="utf-8")
    assert table.load().digest == table.load(table.rows(), name="other.csv").digest


def test_columns_without_a_name_of_spreadsheets_do_no_harm(table: Any) -> None:
    lines = [f"{row['image']},{row['label']},," for row in table.rows()]
    (table.root / "t.csv").write_text("\n".join(["image,label,,", *lines]))
    assert table.load().digest == table.load(table.rows(), name="other.csv").digest


def test_a_table_without_a_header_takes_the_names_from_the_config(table: Any) -> None:
    lines = [f"{row['label']}\t{row['image']}" for row in table.rows()]
    (table.root / "t.tsv").write_text("\n".join(lines))
    splits = table.load(name="t.tsv", columns=["label", "image"])
    assert splits.digest == table.load(table.rows(), name="other.csv").digest
    assert "t.parquet: names its columns itself" in table.refused(table.rows(), name="t.parquet", columns=["label"])


def test_a_column_that_does_not_exist_is_refused_with_the_nearest(table: Any) -> None:
    line = table.refused(table.rows(), label_column="labels")
    assert line == "t.csv: has no column 'labels'; did you mean 'label'?; set 'label_column'"
    assert "did you mean 'image'?; set 'image_column'" in table.refused(table.rows(), image_column="images")
    assert "set 'group_column'" in table.refused(table.rows(), group_column="patient")


def test_missing_images_are_found_without_decoding_and_all_of_them_are_known(table: Any) -> None:
    rows = table.rows()
    rows[3]["image"], rows[7]["image"] = "p/a.png", "nowhere/b.png"
    (table.root / "p/00.png").write_bytes(b"damaged")
    with pytest.raises(MissingFilesError) as caught:
        table.load(rows)
    assert [place.rpartition("/")[2] for place, _ in caught.value.missing] == ["t.csv, line 5", "t.csv, line 9"]
    assert str(caught.value).startswith(
        f"{table.root}/t.csv, line 5: there is no file {table.root}/p/a.png, nor those of 1"
    )


def test_a_path_of_another_system_and_a_url_are_told(table: Any) -> None:
    rows = table.rows()
    rows[4]["image"] = "p\\04.png"
    assert "write / between folders" in table.refused(rows)
    rows[4]["image"] = "https://example.org/04.png"
    assert "t.csv, line 6: 'image' is 'https://example.org/04.png', which is not a path" in table.refused(rows)


def test_many_files_of_one_folder_are_looked_for_too(table: Any) -> None:
    for number in range(100):
        (table.root / f"p/{number:03d}.png").hardlink_to(table.root / "p/05.png")
    (table.root / "p/077.png").unlink()
    (table.root / "p/077.png").symlink_to("nowhere.png")
    rows = [{"image": f"p/{number:03d}.png", "label": "ab"[number % 2]} for number in range(100)]
    assert "line 79: there is no file p/077.png; paths" in table.refused(rows)


def test_tables_that_leave_nothing_are_refused(table: Any) -> None:
    (table.root / "t.csv").write_text("image,label\n")
    assert table.refused() == "t.csv: holds no rows"
    (table.root / "t.csv").write_text("")
    assert table.refused() == "t.csv: holds no rows"
    assert "no such file; set 'path' to a .csv or .tsv" in table.refused(name="nothing*.csv")
    (table.root / "empty").mkdir()
    assert "empty/*.csv: no such file" in table.refused(name="empty")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"image,label\na.png,cat\nb.png,cat,dog\n", "is not a readable CSV file (CSV parse error: Row #3"),
        ("t.csv", b"image,label,,image\na.png,cat,,b.png\n", "t.csv: has 2 columns 'image'; rename all but one"),
        ("t.csv", b"image,label\n\xff,cat\n", "is not a readable CSV file"),
        ("t.jsonl", b'{"image": "a.png", "label": "cat"}\n\n{"image": \n', "t.jsonl, line 3: is not valid JSON"),
        ("t.jsonl", b'["a.png"]\n', "t.jsonl, line 1: holds '[\"a.png\"]', expected one JSON object"),
        ("t.parquet", b"PAR1", "is not a readable Parquet file"),
        ("t.xlsx", b"PK", "'.xlsx' is not the extension of a table"),
    ],
)
def test_a_damaged_table_is_named(table: Any, name: str, content: bytes, message: str) -> None:
    (table.root / name).write_bytes(content)
    assert message in table.refused(name=name)


def test_text_in_parquet_that_is_not_unicode_is_refused(table: Any) -> None:
    path = table.write("t.parquet", [{"image": "p/00.png", "label": "qwertz"}] * 4)
    path.write_bytes(path.read_bytes().replace(b"qwertz", b"qwe\xe0tz"))
    assert "t.parquet: is not a readable Parquet file" in table.refused(name="t.parquet")


def test_formats_are_not_mixed(table: Any) -> None:
    table.write("d/a.csv", table.rows())
    table.write("d/b.tsv", table.rows())
    assert "d/b.tsv: is tsv, but a.csv is csv" in table.refused(name="d")


def test_a_damaged_image_is_named_when_it_is_read(table: Any) -> None:
    (table.root / "p/07.png").write_bytes(b"damaged")
    assert table.refused(table.rows()).startswith("p/07.png: is not an image")


def test_images_are_read_on_demand_in_other_processes_too(table: Any) -> None:
    table.write("t.csv", table.rows())
    source = load_table_source(DataConfig(source="table", path="t.csv"), table.root, "class")
    read = pickle.loads(pickle.dumps(source.train.read))
    images = read(np.array([2, 20]), ImageForm(height=4, width=4), lambda *_: None)
    assert [round(float(image[0, 2, 2]) / 8) for image in images] == [2, 20]


def test_images_of_16_bits_keep_their_weights(table: Any) -> None:
    for number in range(30):
        stream = io.BytesIO()
        Image.fromarray(np.full((4, 4), 100 * number, dtype=np.uint16)).save(stream, "PNG")
        (table.root / f"p/{number:02d}.png").write_bytes(stream.getvalue())
    splits = table.load(table.rows(weight=[1 + number for number in range(30)]), weight_column="weight")
    assert "use 12 of them" in splits.notes[-1]
    assert splits.train.weights is not None
    assert splits.train.weights.tolist() == [
        1 + round(float(image[0, 0, 0]) * 16 / 100) for image in splits.train.images
    ]


def test_texts_keep_their_labels_weights_and_splits(table: Any) -> None:
    rows = [{"text": f'text {i}, "quoted"\nin lines', "label": "ab"[i % 2], "w": i + 1} for i in range(8)]
    source = texts(table, rows, weight_column="w")
    assert [len(source.train.texts), source.test, source.class_names] == [8, None, ("a", "b")]
    assert source.train.texts[5] == 'text 5, "quoted"\nin lines'
    assert list(source.train.texts) == [row["text"] for row in rows]
    assert list(source.train.texts[2:4]) == [row["text"] for row in rows[2:4]]
    assert source.train.weights is not None
    assert source.train.weights.tolist() == list(range(1, 9))


def test_quotation_marks_in_a_tab_separated_file_are_text(table: Any) -> None:
    (table.root / "t.tsv").write_text('text\tlabel\n"open\ta\nplain\tb\n')
    source = load_table_texts(DataConfig(source="table", path="t.tsv", text_column="text"), table.root, "class")
    assert list(source.train.texts) == ['"open', "plain"]


def test_a_missing_text_and_texts_on_two_sides_are_told(table: Any) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2], "split": "train" if i < 6 else "test"} for i in range(8)]
    rows[7]["text"] = "text 0"
    note = texts(table, rows, split_column="split").notes[-1]
    assert "t.csv, line 2 (training) and" in note
    assert note.endswith("t.csv, line 9 (test); on these a model is judged by what it saw")
    rows[3]["text"] = " "
    with pytest.raises(DataError, match=r"t.csv, line 5: 'text' is missing; write a text"):
        texts(table, rows)
    with pytest.raises(DataError, match="column 'text' holds int64, expected text"):
        texts(table, [{"text": 1, "label": "a"}], name="t.jsonl")


def test_images_and_texts_are_not_taken_for_each_other(table: Any) -> None:
    assert "set that task, or name the images" in table.refused(table.rows(), text_column="label")
    with pytest.raises(ConfigError, match="needs 'text_column'"):
        load_table_texts(DataConfig(source="table", path="t.csv"), Path(), "class")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label_columns": ["a"], "label_column": "b"}, "'label_column' and 'label_columns' are both given"),
        ({"text_column": "a", "image_column": "b"}, "'image_column' and 'text_column' are both given"),
        ({"split_column": "a", "test_path": "b.csv"}, "'split_column' and 'test_path' both state the test data"),
        ({"label_columns": ["a", "b", "a"]}, "column 'a' is named twice"),
        ({"source": "folder", "group_column": "a"}, "'group_column' is for a table, not for source 'folder'"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate({"source": "table", "path": "t.csv", **keys})


def test_new_keys_at_their_defaults_leave_old_fingerprints_alone() -> None:
    from factory_base.documents import shaping_values

    values = shaping_values(DataConfig(source="parquet", path="a.parquet"))
    assert not {"group_column", "weight_column", "split_column", "text_column", "label_columns", "columns"} & set(
        values
    )
