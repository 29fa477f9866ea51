"""Files that people write: every mistake is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from factory_base.documents import (
    ADDED,
    HANDLING,
    Document,
    load_document,
    load_yaml,
    nearest,
    parse_document,
    shaping_values,
)
from factory_base.errors import ConfigError


class Stage(Document):
    widths: tuple[int, ...] = ()
    kernel_size: int = Field(default=3, ge=1, le=63, alias="kernel")


class Model(Document):
    name: str
    stages: tuple[Stage, ...] = ()
    extra: Stage | None = None


def load(folder: Path, text: str) -> Model:
    path = folder / "model.yaml"
    path.write_text(text, encoding="utf-8")
    return load_document(path, Model)


def test_a_file_becomes_a_frozen_value(tmp_path: Path) -> None:
    model = load(tmp_path, "name: a\nstages: [{widths: [1, 2], kernel: 5}]\n")
    assert model.stages[0] == Stage(widths=(1, 2), kernel_size=5)
    with pytest.raises(ValidationError, match="frozen"):
        model.name = "b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam: a", r"unknown key 'nam'; did you mean 'name'\?$"),
        ("name: a\nstags: []", r"model.yaml: unknown key 'stags'; did you mean 'stages'\?$"),
        ("name: a\nzzz: 1", r"unknown key 'zzz'; known: extra, name, stages$"),
        ("name: a\nstages: [{kernal: 3}]", r"unknown key 'stages.0.kernal'; did you mean 'kernel'\?$"),
        ("name: a\nextra: {width: 3}", r"unknown key 'extra.width'; did you mean 'widths'\?$"),
        ("stages: []", r"model.yaml: key 'name' is missing$"),
        ("name: 3", r"'name': must be text; write it in quotes, got 3$"),
        (
            "name: a\nstages: [{widths: [1, two]}]",
            r"model.yaml: 'stages.0.widths.1': must be a whole number, got 'two'$",
        ),
        ("name: a\nstages: [{kernel: 0}]", r"'stages.0.kernel': must be from 1 to 63, got 0$"),
        ("1: a\nname: b", r"model.yaml: '1': is a key that is not text; write it in quotes, got 1$"),
        ("[1, 2]", r"model.yaml: holds a list, expected keys: extra, name, stages$"),
        ("", r"model.yaml: holds nothing, expected keys"),
    ],
)
def test_a_mistake_is_one_line_with_its_location(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\n  bad: [1", r"model.yaml, line 2, column 6: is not valid YAML"),
        ("a: 1\nb: [1, 2\n", r"line 3, column 1: is not valid YAML"),
        ("a: \x00", "is not valid YAML .*special characters are not allowed"),
        ("a: !!python/object:os.system {}", "line 1, column 4: is not valid YAML .*could not determine a constructor"),
        ("a: 2024-13-45", r"a value is not a valid date or number \(month must be in 1..12\); put text in quotes"),
    ],
)
def test_invalid_yaml_is_one_line_with_its_location(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


SEVERAL = """\
naem: a
extra: {widths: [1, two, 0.5], kernel: 64, widhts: [1]}
stages: [5, {widths: yes}, {kernel: yes}]
"""


def test_every_mistake_has_a_line_with_place_value_and_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SEVERAL)
    heading, *faults = caught.value.lines()
    assert heading == f"{tmp_path}/model.yaml: 8 mistakes"
    assert faults == [
        "unknown key 'extra.widhts'; did you mean 'widths'?",
        "unknown key 'naem'; did you mean 'name'?",
        "'stages.0': must be a section with keys of kernel, widths, got 5",
        "'stages.1.widths': must not be true or false, got True",
        "'stages.2.kernel': must not be true or false, got True",
        "'extra.widths.1': must be a whole number, got 'two'",
        "'extra.widths.2': must be a whole number, got 0.5",
        "'extra.kernel': must be from 1 to 63, got 64",
    ]
    assert str(caught.value) == f"{heading}: {'; '.join(faults)}"


def test_no_more_mistakes_are_stated_than_a_terminal_shows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"name: a\nstages: [{{widths: {['x' * 1000] * 1000}}}]")
    heading, *faults = caught.value.lines()
    assert heading.endswith("model.yaml: 1000 mistakes")
    assert len(faults) == 21
    assert faults[-1] == "and 980 more"
    assert max(map(len, faults)) < 200


def test_a_value_of_several_types_has_one_fault(tmp_path: Path) -> None:
    class Options(Document):
        values: tuple[Annotated[int | float, Field(gt=0, le=9)], ...]
        share: Annotated[float, Field(ge=0, lt=1)] | None = None

    (tmp_path / "a.yaml").write_text("values: [1, x, 0, 10]\nshare: 1")
    with pytest.raises(ConfigError) as caught:
        load_document(tmp_path / "a.yaml", Options)
    assert caught.value.lines()[1:] == (
        "'values.1': must be a number, got 'x'",
        "'values.2': must be above 0 and at most 9, got 0",
        "'values.3': must be above 0 and at most 9, got 10",
        "'share': must be at least 0 and below 1, got 1",
    )


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read \(No such file or directory\)"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_yaml(tmp_path)


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("name: ä".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a.yaml: is not UTF-8 text"):
        load_yaml(tmp_path / "a.yaml")


def test_infinity_is_refused(tmp_path: Path) -> None:
    class Rate(Document):
        rate: float

    (tmp_path / "a.yaml").write_text("rate: .inf")
    with pytest.raises(ConfigError, match=r"line 1, column 7: the number .inf is not finite"):
        load_document(tmp_path / "a.yaml", Rate)


def alias_bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nname: x\nseed: 2", r"line 3, column 1: key 'seed' is given twice, first in line 1$"),
        ("a: {b: 1, 'b': 2}", r"line 1, column 11: key 'b' is given twice"),
        ("- {1: a, 0x1: b}", r"key '0x1' is given twice"),
        ("a: 010", r"line 1, column 4: 010 would be read in base 8; write a decimal number, or text in quotes$"),
        ("a: [1, -1:30]", r"line 1, column 8: -1:30 would be read in base 60"),
        ("a: 1:30.5", "1:30.5 would be read in base 60"),
        ("a: 1.0e+999", r"line 1, column 4: the number 1.0e\+999 is not finite$"),
        ("a: 9223372036854775808", r"the integer 9223372036854775808 exceeds 64 bits$"),
        ("a: " + "9" * 5000, r"the integer 9+ exceeds 64 bits$"),
        ("[" * 3000 + "]" * 3000, r"line 1, column 51: is nested deeper than 50 levels$"),
        (alias_bomb(9), r"holds more than 100,000 values"),
        ("a: &a [1, *a]", r"line 1, column 11: an alias stands for a value that contains it$"),
        ("a: 1\n" * 1_000_000, "is larger than the limit"),
    ],
    ids=lambda text: text[:12],
)
def test_yaml_that_hides_a_mistake_or_grows_without_bounds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_aliases_and_merged_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nagain: *base\nbig: -9223372036854775808"
    )
    value = load_yaml(tmp_path / "a.yaml")
    assert value["other"] == {"a": 1, "b": 3}
    assert value["again"] == {"a": 1, "b": 2}
    assert value["big"] == -(2**63)


def test_the_nearest_word_is_suggested_or_else_all_are_listed() -> None:
    assert nearest("latncy", ["latency", "memory"]) == "did you mean 'latency'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("zzz", []) == "known: none"


class Section(Document):
    workers: Annotated[int, HANDLING] = 0
    width: int = 8


class Whole(Document):
    section: Section = Section()
    storage: Annotated[str | None, HANDLING] = None
    path: str = "here"


def test_what_shapes_no_result_is_left_out_of_the_values_that_keys_are_made_of():
    assert shaping_values(Whole(storage="there")) == {"section": {"width": 8}, "path": "here"}
    assert shaping_values(Whole(), exclude={"path"}) == {"section": {"width": 8}}
    assert shaping_values(Whole(section=Section(workers=3))) == shaping_values(Whole())
    assert shaping_values(Whole(section=Section(width=9))) != shaping_values(Whole())


def test_a_field_that_was_added_later_shapes_a_key_only_if_it_is_set() -> None:
    class Grown(Document):
        width: int = 8
        fitting: Annotated[str, ADDED] = "squash"
        ignore: Annotated[tuple[str, ...], ADDED] = Field(default_factory=tuple)

    assert shaping_values(Grown(fitting="squash")) == {"width": 8}
    assert shaping_values(Grown(fitting="crop", ignore=("a",))) == {"width": 8, "fitting": "crop", "ignore": ["a"]}


def test_a_value_that_is_none_of_several_types_is_one_mistake_at_its_key() -> None:
    class Sized(Document):
        size: Annotated[int, Field(ge=8)] | Annotated[tuple[Annotated[int, Field(ge=8)], ...], Field(min_length=2)] = 32

    with pytest.raises(ConfigError) as caught:
        parse_document({"size": "64 px"}, Sized, "a.yaml")
    assert str(caught.value) == "a.yaml: 'size': must be a whole number, got '64 px'"
