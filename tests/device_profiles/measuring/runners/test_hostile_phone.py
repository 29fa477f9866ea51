"""Phones that are broken or mean harm: whatever they print is one line that names them, and nothing of it is used.

In the place of `adb` stands a shell script that prints prepared texts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from device_profiles.measuring.runner import TimedFile
from device_profiles.measuring.runners import adb_client
from device_profiles.measuring.runners.adb import AdbRunner, parse_address
from factory_base.errors import EngineError

FACTS = "ro.product.model=Fake\ncores=0-3,6\nMemTotal:  4000000 kB"
HEALTH = "  level: 80\nThermal Status: 0\nlow_power=0"
LOADED = "Session creation time cost: 0.01 s"
RUNS = "".join(f"m,0.001,1,1,{number}\n" for number in range(8))
TIMES = f"{LOADED}\n{RUNS}\n@end 0\n"
EXIT = "\n@exit 0\n"

ADB = """#!/bin/sh
case "$*" in
  devices) printf 'List of devices attached\\nS1\\tdevice\\n';;
  *get-state) echo device;;
  *getprop*) cat {folder}/facts;;
  *dumpsys*) cat {folder}/health;;
  *'job()'*) cat {folder}/times; {last};;
  *) printf '\\n@exit 0\\n';;
esac
"""

Make = Callable[..., AdbRunner]


@pytest.fixture
def printing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a runner whose phone prints these texts; `last` is run in a shell after the times."""

    def make(*, facts: str = FACTS, health: str = HEALTH, times: str = TIMES, last: str = ":") -> AdbRunner:
        for name, text in (("facts", facts + EXIT), ("health", health + EXIT), ("times", times + EXIT)):
            (tmp_path / name).write_text(text)
        (tmp_path / "adb").write_text(ADB.format(folder=tmp_path, last=last))
        (tmp_path / "adb").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return AdbRunner(parse_address(f"binary={tmp_path / 'adb'},version=1.2.3"), "onnxruntime")

    return make


def fault(work: Callable[[], object]) -> str:
    """The one line that `work` fails with."""
    with pytest.raises(EngineError) as caught:
        work()
    message = str(caught.value)
    assert message.startswith("phone S1")
    assert message.isprintable()
    return message


def opened(runner: AdbRunner, tmp_path: Path, files: int = 1, timed: int = 0) -> AdbRunner:
    paths = [tmp_path / f"{index}.onnx" for index in range(files)]
    for path in paths:
        path.write_text(path.name)
    runner.open([TimedFile(path=path, input_shape=(1,)) for path in paths], timed, 1, 0)
    return runner


def test_a_phone_that_prints_what_it_should_is_measured(printing: Make, tmp_path: Path) -> None:
    runner = printing()
    assert (runner.machine().cores, runner.machine().ram_bytes) == (5, 4_096_000_000)
    assert opened(runner, tmp_path, timed=1).visit([0]).__next__() == (0, [1000.0] * 5)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (FACTS.replace("0-3,6", "0-99999"), "'cores': input should be a valid integer, got '0-99999'"),
        (FACTS.replace("0-3,6", "9-0"), "'cores': input should be greater than or equal to 1, got -8"),
        (FACTS.replace("0-3,6", "0-9999"), "'cores': input should be less than or equal to 4096, got 10000"),
        (FACTS.replace("0-3,6", "\u00b2"), "'cores': input should be a valid integer"),
        (FACTS.replace("4000000", "9" * 5000), "must report its memory and cores"),
        (FACTS.replace("4000000", "9" * 15), "'ram_bytes': input should be less than"),
        (FACTS.replace("4000000", "0"), "'ram_bytes': input should be greater than"),
        (FACTS + "\nro.build.version.sdk=x: y", "'api_level': string should match pattern"),
        (FACTS + "\ncores=0-7", "reports cores twice"),
        ("\x1b[31mnothing", r"must report its memory and cores"),
        ("A" * 3000, "printed more than 2,000 bytes"),
    ],
)
def test_facts_that_cannot_be_are_refused(
    printing: Make, facts: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb_client, "_OUTPUT_BYTES", 2000 if facts.startswith("A") else 10**6)
    assert words in fault(printing(facts=facts).machine)


def test_names_come_without_control_characters(printing: Make) -> None:
    names = "ro.soc.manufacturer=\x1b[31mA\nro.soc.model=B\u202e\nro.product.manufacturer=C\x07\n"
    machine = printing(facts=names + FACTS).machine()
    assert (machine.soc_maker, machine.soc_model) == (r"\x1b[31mA", r"B\u202e")
    assert machine.processor.startswith(r"\x1b[31mA B\u202e (C\x07 Fake, ")


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ("level: " + "9" * 5000, "reports 'level: 99999"),
        ("level: 101", "reports 'level: 101', expected 0 to 100"),
        ("level: \u00b2", "expected 0 to 100"),
        ("Thermal Status: -1", "reports 'Thermal Status: -1', expected 0 to 6"),
    ],
)
def test_a_state_that_cannot_be_is_not_taken_for_a_good_one(printing: Make, health: str, words: str) -> None:
    assert words in fault(printing(health=health).machine)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (TIMES.replace("0.001", "nan"), "input should be a finite number, got nan"),
        (TIMES.replace("0.001", "0"), "input should be greater than or equal to 0.001, got 0.0"),
        (TIMES.replace("m,0.001,1,1,6", "m,1e300,1,1,6"), "input should be less than or equal to 3600000000"),
        (TIMES.replace("0.001", "9" * 400), "input should be a finite number, got nan"),
        (TIMES.replace("@end 0", "@end x"), "ended a file with '@end x', not with an exit status"),
        (TIMES.replace("@end 0", "@end " + "9" * 5000), "not with an exit status"),
        (TIMES * 2, "it answered for more files than it was asked to run"),
        ("\x1b[31mred", "it ended before"),
        ("\x1b[31mred\n@end 1", r".onnx (exit status 1): \x1b[31mred"),
        (RUNS * 100 + "@end 0", "printed more than 5,000 bytes for one file"),
        ("A" * 10_000, "printed more than 5,000 bytes for one file"),
    ],
)
def test_times_that_cannot_be_true_are_refused(
    printing: Make, tmp_path: Path, times: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb_client, "_FILE_BYTES", 5000 if len(times) > 7000 else 10**6)
    runner = opened(printing(times=times), tmp_path)
    assert words in fault(lambda: list(runner.visit([0])))


def test_a_load_time_that_cannot_be_true_is_refused(printing: Make, tmp_path: Path) -> None:
    runner = printing(times=TIMES.replace("0.01 s", "0 s"))
    assert "got 0.0" in fault(lambda: opened(runner, tmp_path, timed=1))


def test_lines_without_end_do_not_keep_a_phone_alive(printing: Make, tmp_path: Path) -> None:
    runner = opened(printing(last="while sleep 0.05; do echo waiting; done"), tmp_path)
    (tmp_path / "times").write_text("")
    assert "did not finish a file in 0 s" in fault(lambda: list(runner._readings([0], timeout_s=0.2)))
