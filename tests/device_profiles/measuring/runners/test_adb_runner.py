"""Measuring through the real `adb` program, on a fake phone whose benchmark program is a stand-in; see `fake_phone`."""

from __future__ import annotations

import json
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fake_phone import PROPERTIES, SHELL, AdbServer, FakePhone
from quick_networks import QuickEngine, TinySpace, network, write_onnx

import device_profiles.measuring.bench as bench
import device_profiles.measuring.measure as measure
import device_profiles.measuring.runner as runner_module
import device_profiles.measuring.runners.adb as adb_module
from device_profiles.measuring.runner import LocalRunner, TimedFile
from device_profiles.measuring.runners import get_runner
from device_profiles.measuring.runners.adb import AdbRunner, parse_address
from device_profiles.measuring.runners.adb_client import find_phone
from device_profiles.profile import find_profile
from device_profiles.profile_writer import write_profile
from factory_base.errors import ConfigError, EngineError
from factory_base.progress import silent

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="needs the Debian package adb")

STAND_IN = Path(__file__).with_name("perf_test_stand_in.py")
SHAPE = (3, 16, 16)
NETWORKS, HELD_OUT, ROUNDS = 6, 2, 4
FILES = NETWORKS + HELD_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A server of adb, a folder for the storage of the phone, and the benchmark program."""

    server: AdbServer
    folder: Path
    binary: Path

    def phone(self, **options) -> FakePhone:
        """Attached, and no longer `offline`."""
        phone = FakePhone(self.folder / "phone", **options)
        self.server.adb("disconnect", phone.serial)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.server.adb("connect", phone.serial)
            rows = [line for line in self.server.adb("devices").splitlines() if line.startswith(phone.serial)]
            if rows and "offline" not in rows[0]:
                break
            time.sleep(0.1)
        return phone

    def program(self, body: str) -> Path:
        """Another program for the phone."""
        path = self.folder / "other_program"
        path.write_text(f"#!/bin/sh\n{body}\n")
        return path

    def runner(self, binary: Path | None = None, engine: str = "onnxruntime", more: str = "") -> AdbRunner:
        return AdbRunner(parse_address(f"binary={binary or self.binary},version=1.2.3{more}"), engine)


@pytest.fixture(scope="module")
def worker() -> Iterator[str]:
    """The process in which models really run; gives its address."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        process = subprocess.Popen([sys.executable, str(STAND_IN), "serve", address])
        end = time.monotonic() + 60
        while not Path(address).exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield address
        process.kill()
        process.wait()


@pytest.fixture
def lab(tmp_path: Path, worker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    binary = tmp_path / "onnxruntime_perf_test"
    log = tmp_path / "phone" / "runs.log"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {STAND_IN} ask {worker} {log} "$@"\n')
    with AdbServer(tmp_path / "home") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield Lab(server=server, folder=tmp_path, binary=binary)


@pytest.fixture
def files(tmp_path: Path) -> list[TimedFile]:
    """From small to large."""
    paths = [tmp_path / f"{width}.onnx" for width in (4, 64, 256)]
    for path in paths:
        write_onnx(network(int(path.stem)), SHAPE, path)
    return [TimedFile(path=path, input_shape=SHAPE) for path in paths]


@pytest.fixture(autouse=True)
def short_and_tolerant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests share their machine; noise has its own tests."""
    monkeypatch.setattr(bench, "SUSTAINED_SECONDS", 0.05)
    monkeypatch.setattr(measure, "NOISE_LIMIT", 10.0)
    monkeypatch.setattr(measure, "SLOWDOWN_LIMIT", 100.0)
    monkeypatch.setattr(runner_module, "measure_peak", lambda _: None)
    monkeypatch.setattr(adb_module, "LOADS", 1)
    monkeypatch.setattr(adb_module, "_SPARE_BYTES", 0)


def measured(folder: Path, runner, progress=silent) -> measure.MeasuredHost:
    plan = measure.Plan(networks=NETWORKS, held_out=HELD_OUT, rounds=ROUNDS)
    return measure.measure_host(
        TinySpace(8, 32, 64), QuickEngine(), plan, folder=folder, progress=progress, runner=runner
    )


def test_a_phone_is_measured_like_this_machine_and_its_profile_selects_it(lab: Lab) -> None:
    with lab.phone():
        found = measured(lab.folder, lab.runner())
    here = measured(lab.folder, LocalRunner(QuickEngine()))
    ratios = found.measurements.network_us / here.measurements.network_us
    assert 0.2 < np.median(ratios) < 5
    assert (found.measurements.load_us > 0).all()
    assert found.measurements.peaks == (None,) * FILES
    machine = found.profile.costs.machine
    assert re.fullmatch(r"Acme A1 \(Acme Fake One, [0-9a-f]{4}\), onnxruntime 1\.2\.3, 1 thread", machine)
    write_profile(found.profile, lab.folder / "phone.yaml", found.table)
    selectors = find_profile("phone.yaml", lab.folder).profile.selectors
    assert (selectors.platform, selectors.os_min) == ("android", "34")
    assert [(soc.maker, soc.model) for soc in selectors.soc_include] == [("Acme", "A1")]


def test_a_phone_that_vanishes_in_a_round_loses_nothing_and_nothing_is_copied_twice(lab: Lab) -> None:
    loads = FILES
    with (
        lab.phone(vanish_after=loads + FILES + 6) as phone,
        pytest.raises(EngineError, match=r"is gone \(.*\); plug it in"),
    ):
        measured(lab.folder, lab.runner())
    assert len(phone.pushed) == len(set(phone.pushed)) == FILES + 1
    (path,) = lab.folder.glob("*/rounds-*.json")
    kept = json.loads(path.read_text())
    assert len(kept["rounds"]) == 1
    assert 1 <= len(kept["unfinished"]) <= 6
    with lab.phone(port=phone.port) as again:
        measured(lab.folder, lab.runner())
    assert again.pushed == []
    rounds = json.loads(path.read_text())["rounds"]
    assert rounds[0] == kept["rounds"][0]
    assert all(rounds[1]["networks"][index] == times for index, times in kept["unfinished"])


def test_what_was_measured_is_told_before_the_command_ends(lab: Lab, files: list[TimedFile]) -> None:
    with lab.phone() as phone:
        runner = lab.runner()
        runner.open(files, 1, threads=1, seed=0)
        before, visit = phone.runs, runner.visit([2, 0] * 12)
        (file, times), after = next(visit), phone.runs
        assert (file, len(times)) == (2, 7)
        assert after - before < 24
        visit.close()


def test_visits_tell_small_files_from_large_ones_and_runs_fill_the_time(lab: Lab, files: list[TimedFile]) -> None:
    with lab.phone():
        runner = lab.runner()
        assert (runner.open(files, 3, threads=1, seed=7) > 0).all()
        times = dict(runner.visit([2, 0, 1]))
        assert np.median(times[0]) < np.median(times[1]) < np.median(times[2])
        assert len(runner.run_for(0, 0.05)) > len(runner.run_for(2, 0.05)) >= 7
        assert (runner.peak_memory_bytes(0), runner.kernel_latency_us(0), runner.peak(1)) == (None, None, None)


def test_a_half_copied_file_is_copied_again(lab: Lab, files: list[TimedFile]) -> None:
    with lab.phone() as phone:
        lab.runner().open(files, 0, threads=1, seed=0)
        largest = max((phone.storage / "model-factory").glob("*.onnx"), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:1000])
        phone.pushed.clear()
        lab.runner().open(files, 3, threads=1, seed=0)
        assert phone.pushed == [f"{largest.name}.partial"]


def test_names_and_masks_are_safe_in_the_shell_of_the_phone(lab: Lab, files: list[TimedFile]) -> None:
    odd = lab.folder / "perf test's; touch owned $(touch owned)"
    shutil.copy(lab.binary, odd)
    with lab.phone() as phone:
        runner = lab.runner(odd, more=",taskset=1")
        assert runner.machine().processor.endswith(", taskset 1")
        runner.open(files, 0, threads=1, seed=0)
        assert len(list(runner.visit([0]))) == 1
        assert not list(phone.folder.rglob("owned"))


def test_two_phones_of_one_model_are_not_taken_for_each_other(lab: Lab) -> None:
    with lab.phone() as phone:
        first = lab.runner().machine()
        phone.set(properties=PROPERTIES | {"ro.serialno": "FAKE2"}, battery=80, thermal_status=0)
        assert lab.runner().machine().processor != first.processor


def test_a_phone_that_tells_little_is_measured_but_selects_no_system_on_a_chip(lab: Lab) -> None:
    with lab.phone() as phone:
        phone.set(properties={"ro.product.model": "Old"}, battery=80, thermal_status=0)
        machine = lab.runner().machine()
    assert machine.processor.startswith("Old, ")
    assert (machine.soc_maker, machine.soc_model, machine.os_version) == ("", "", "")


def test_the_version_is_read_from_a_library_else_it_must_be_said(lab: Lab) -> None:
    library = lab.folder / "libonnxruntime.so"
    library.write_bytes(b"\x7fELF\0VERS_1.22.0\0")
    with lab.phone():
        address = f"binary={lab.binary},library={library}"
        assert AdbRunner(parse_address(address), "onnxruntime").machine().engine_version == "1.22.0"
    with pytest.raises(ConfigError, match="does not tell its version of onnxruntime; add ,version="):
        AdbRunner(parse_address(f"binary={lab.binary}"), "onnxruntime").machine()


def test_mnn_is_given_its_inputs_in_a_file_and_its_average_is_one_run(lab: Lab, files: list[TimedFile]) -> None:
    said = "main, 265, cost time: 1.500000 ms\nAvg= 0.250000 ms, min= 0.2 ms, max= 0.4 ms"
    program = lab.program(f"[ $# = 0 ] || cat $2/input.json > seen.json; echo $3 $4 $6 $7 > seen.txt; echo '{said}'")
    with lab.phone() as phone:
        runner = lab.runner(program, "mnn")
        assert runner.open(files[:1], 1, threads=3, seed=0).tolist() == [1500.0]
        assert list(runner.visit([0])) == [(0, [250.0])]
        seen = phone.storage / "model-factory"
        assert json.loads((seen / "seen.json").read_text()) == {
            "inputs": [{"name": "image", "value": 0.5, "shape": [1, *SHAPE]}],
            "outputs": ["logits"],
        }
        assert (seen / "seen.txt").read_text().split() == ["0", "0", "3", "0"]


def test_without_a_phone_or_with_two_the_message_says_what_to_do(lab: Lab) -> None:
    with pytest.raises(EngineError, match="no phone is attached; plug one in with USB debugging on"):
        find_phone("")
    with lab.phone() as first, lab.phone() as second:
        with pytest.raises(EngineError, match="2 phones are attached; name one") as caught:
            find_phone("")
        assert first.serial in str(caught.value)
        assert second.serial in str(caught.value)
        answer = find_phone(second.serial).shell("echo hello; exit 3")
        assert (answer.text, answer.code) == ("hello\n", 3)
        with pytest.raises(EngineError, match=f"phone 'other' is not attached; attached: .*{first.serial}"):
            find_phone("other")


def test_a_phone_that_did_not_allow_debugging_is_told(lab: Lab) -> None:
    with (
        lab.phone(authorised=False),
        pytest.raises(EngineError, match=r"'(unauthorized|authorizing)'; unlock it and allow"),
    ):
        find_phone("")


def test_a_missing_adb_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EngineError, match=r"adb is not installed; .* \(the Debian package is called adb\)"):
        lab.runner().machine()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "echo /system/bin/sh: x: not executable: 64-bit ELF file; exit 126",
            "other_program is not built for this phone, which runs arm64-v8a .*64-bit ELF file",
        ),
        (
            "echo 'CANNOT LINK EXECUTABLE x: library \"libonnxruntime.so\" not found'; exit 1",
            'misses a library on the phone .*libonnxruntime.so" not found.*; add ,library=FILE',
        ),
        ("kill -SEGV $$", r"does not run on the phone \(exit status 139"),
    ],
)
def test_a_program_that_cannot_run_is_found_out_before_anything_is_converted(lab: Lab, body: str, message: str) -> None:
    with lab.phone(), pytest.raises(EngineError, match=message) as caught:
        lab.runner(lab.program(body)).machine()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SHELL.endswith("mksh"), reason="needs the Debian package mksh, the shell of Android")
def test_a_program_for_another_processor_is_told_as_the_shell_of_android_finds_it(lab: Lab) -> None:
    machine = 183 if platform.machine() != "aarch64" else 62  # AArch64, x86-64
    program = lab.folder / "elf"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, machine, 1) + bytes(100))
    with lab.phone(), pytest.raises(EngineError, match=r"elf is not built for this phone, which runs arm64-v8a .*ELF"):
        lab.runner(program).machine()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo some; echo nonsense", "printed no times for .*, its last line was 'nonsense'; is it another program"),
        ("[ $# = 0 ] || { echo bad model; exit 255; }", r"failed on .* \(exit status 255\): bad model"),
        ("echo 'P50 Latency: 0.001 s'", "does not tell how long a file takes to load"),
    ],
)
def test_a_program_that_tells_no_times_is_one_line(lab: Lab, files: list[TimedFile], body: str, message: str) -> None:
    with lab.phone(), pytest.raises(EngineError, match=message) as caught:
        lab.runner(lab.program(body)).open(files, 1, threads=1, seed=0)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_told_after_some_patience(
    lab: Lab, files: list[TimedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdbRunner._readings, "__defaults__", (None, 2.0))
    with lab.phone(), pytest.raises(EngineError, match="silent for 2 s; run the same command again"):
        lab.runner(lab.program("[ $# = 0 ] || sleep 30")).open(files, 1, threads=1, seed=0)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"battery": 80, "thermal_status": 3}, "is hot and throttles .*; let it cool and run the same command again"),
        ({"battery": 9, "thermal_status": 0}, "has 9% of its battery left; charge it to 20%"),
    ],
)
def test_a_phone_that_would_measure_wrong_is_refused_between_rounds(
    lab: Lab, files: list[TimedFile], state: dict[str, int], message: str
) -> None:
    with lab.phone() as phone:
        runner = lab.runner()
        runner.open(files, 0, threads=1, seed=0)
        phone.set(properties=PROPERTIES, **state)
        with pytest.raises(EngineError, match=message):
            list(runner.visit([0]))


def test_a_full_phone_is_told(lab: Lab, files: list[TimedFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_module, "_SPARE_BYTES", 2**60)
    with lab.phone(), pytest.raises(EngineError, match=r"free, but .* are to be copied and .* to spare; make room"):
        lab.runner().open(files, 0, threads=1, seed=0)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "names no benchmark program of the engine; write adb:SERIAL"),
        ("x,binary=missing_program", "missing_program is no file; give the benchmark program that was built"),
        ("-s,binary=b", "'-s' is no serial of a phone"),
        ("x,binari=b", "'binari=b' in .* did you mean 'binary'"),
        ("x,binary=b,binary=c", "is unknown, empty or repeated"),
        ("x,binary=b,taskset=f0;reboot", "is no mask of cores"),
    ],
)
def test_a_faulty_address_is_one_line(
    tmp_path: Path, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b").touch()
    with pytest.raises(ConfigError, match=message):
        get_runner(f"adb:{address}", QuickEngine())


def test_an_engine_without_a_program_for_phones_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with pytest.raises(EngineError, match="'mn' has no known program for phones; did you mean 'mnn'"):
        AdbRunner(parse_address(f"binary={tmp_path / 'b'}"), "mn")
