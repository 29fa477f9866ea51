"""Keeping finished rounds: what is kept is read again as it was, and what cannot be true is dropped with a warning."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from device_profiles.measuring.rounds import Round, Rounds, read_rounds
from factory_base.errors import FactoryError

NETWORKS, FILES = 2, 3
ROUND = {"networks": [[1.5, 2.0], [3.0]], "parts": [0.5], "order": [2, 0, 1]}


def read(path: Path, content: object) -> Rounds:
    path.write_text(json.dumps(content))
    return read_rounds(path, NETWORKS, FILES)


def test_rounds_are_read_as_they_were_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Rounds(finished=[Round.model_validate(ROUND)] * 2, begun={2: (4.0, 5.0), 0: (1.0,)})
    kept.write(tmp_path / "rounds.json")
    assert read_rounds(tmp_path / "rounds.json", NETWORKS, FILES) == kept
    assert read_rounds(tmp_path / "none.json", NETWORKS, FILES) == Rounds()
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"networks": [[1.5, float("nan")], [3.0]]}, "'networks.0.1': input should be a finite number, got nan"),
        ({"networks": [[1.5, -1.0], [3.0]]}, "'networks.0.1': input should be greater than or equal to 0.001"),
        ({"networks": [[1e300], [3.0]]}, "'networks.0.0': input should be less than or equal to"),
        ({"networks": [[], [3.0]]}, "'networks.0': tuple should have at least 1 item"),
        ({"networks": [[3.0]]}, "times of 1 networks and 1 parts"),
        ({"parts": [float("inf")]}, "'parts.0': input should be a finite number, got inf"),
        ({"order": [0, 1, 1]}, "an order that does not name each file once"),
        ({"parts": [10**4000]}, "got an integer of 13288 bits"),
        ({"order": None}, "'order': input should be a valid tuple, got None"),
        ({"\x1b[31m": 1}, r"unknown key '\\x1b[31m'"),
    ],
)
def test_a_round_with_a_value_that_cannot_be_true_is_dropped_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object], words: str
) -> None:
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path / "rounds.json", {"rounds": [ROUND, ROUND | change, ROUND]})
    assert found.finished == [Round.model_validate(ROUND)] * 2
    (record,) = caplog.records
    assert record.message.startswith(f"{tmp_path / 'rounds.json'}: holds values that cannot be true (")
    assert words in record.message
    assert record.message.isprintable()


def test_visits_of_an_interrupted_round_are_judged_one_by_one(tmp_path: Path) -> None:
    visits = [[0, [1.0]], [1, [float("nan")]], [3, [1.0]], [2], 5, [2, [2.0]]]
    assert read(tmp_path / "rounds.json", {"unfinished": visits}).begun == {0: (1.0,), 2: (2.0,)}


@pytest.mark.parametrize("content", [[], None, 5, {"rounds": 5}, {"rounds": {"a": 1}, "unfinished": "x"}])
def test_other_json_holds_no_rounds(tmp_path: Path, content: object) -> None:
    assert read(tmp_path / "rounds.json", content) == Rounds()


@pytest.mark.parametrize("text", ["", "{", '{"rounds": [', "[" * 100_000])
def test_a_file_that_is_not_json_is_one_line_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "rounds.json").write_text(text)
    with pytest.raises(FactoryError, match=r"rounds.json: is not valid JSON \(.*\); remove it to measure from the"):
        read_rounds(tmp_path / "rounds.json", NETWORKS, FILES)
