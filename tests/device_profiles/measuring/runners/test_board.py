"""The program that is sent to boards, without SSH: what it needs, what it leaves behind, how it copes with little."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from quick_networks import write_onnx
from torch import nn

import exports.engines.onnxruntime as onnxruntime_engine
from device_profiles.measuring import timing
from device_profiles.measuring.runners import board, board_engines
from device_profiles.measuring.runners.board import Board, hold_machine, make_room, processor
from device_profiles.measuring.runners.board_engines import BoardError, OnnxRuntime, without_weights
from device_profiles.measuring.runners.board_messages import (
    HELLO,
    LOADED,
    MISSING,
    NOTHING,
    PROFILED,
    VISITED,
    Facts,
)
from device_profiles.measuring.runners.ssh_link import Link, LinkLostError, start_command
from factory_base.errors import EngineError
from factory_base.files import sha256_file

pytestmark = [pytest.mark.engines, pytest.mark.smoke]

SHAPE = (3, 16, 16)
LIMITS = {"seconds": timing.VISIT_SECONDS, "repeats": list(timing.REPEATS)}


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("converted") / "net.onnx"
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 300, 1)).eval()
    write_onnx(module, SHAPE, path)
    return path


@pytest.mark.parametrize("module", [board, board_engines])
def test_it_needs_nothing_but_an_old_python_and_its_standard_library(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"numpy"} | ({board_engines.__name__} if module is board else set())
    heads = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not any("numpy" in ast.dump(node) or "fcntl" in ast.dump(node) for node in heads)


def test_sessions_are_set_up_as_on_the_machine_at_hand(converted):
    theirs = OnnxRuntime().load(converted, 2)._options()
    ours = onnxruntime_engine._options(2)
    for name in ("intra_op_num_threads", "inter_op_num_threads", "execution_mode", "use_deterministic_compute"):
        assert getattr(theirs, name) == getattr(ours, name)
    spinning = "session.force_spinning_stop"
    assert theirs.get_session_config_entry(spinning) == ours.get_session_config_entry(spinning) == "1"


@pytest.fixture
def alone(tmp_path):
    """A connection without SSH to a program whose home, temporary and working folders are empty."""
    for name in ("home", "tmp", "cwd"):
        (tmp_path / name).mkdir()
    places = [f"HOME={tmp_path / 'home'}", f"TMPDIR={tmp_path / 'tmp'}"]
    command = ["env", "-i", "-C", str(tmp_path / "cwd"), *places, "sh", "-c", f"exec {start_command(sys.executable)}"]
    link = Link("board", command, 60)
    yield link
    link.close()


def sockets(link: Link) -> list[str]:
    """The sockets that its process has open."""
    folder = Path(f"/proc/{link.pid}/fd")
    return [str(path.readlink()) for path in folder.iterdir() if str(path.readlink()).startswith("socket:")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="boards run Linux")
def test_a_measurement_leaves_only_the_copied_files_on_the_board_and_opens_no_connection(alone, converted, tmp_path):
    digest = sha256_file(converted)
    assert isinstance(alone.ask("hello", HELLO, engine="onnxruntime", token="a"), Facts)
    assert alone.ask("missing", MISSING, steps=1, files={digest: converted.stat().st_size}).missing == (digest,)
    alone.put(converted, digest)
    entry = {"sha256": digest, "name": "net.onnx", "shape": list(SHAPE)}
    loaded = alone.ask("load", LOADED, steps=1, files=[entry], threads=1, seed=0, timed=1, loads=3)
    assert len(loaded.load_us[0]) == 3
    assert [answer.file for answer in alone.stream("visit", VISITED, order=[0, 0], **LIMITS)] == [0, 0]
    assert alone.ask("profile", PROFILED, file=0, warm_up=1, runs=2).profile.run_us > 0
    assert not sockets(alone)
    alone.close()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in left if not name.startswith("tmp/model-factory")} == {
        f"home/.cache/model-factory/{digest}"
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="boards run Linux")
def test_a_request_that_fails_is_reported_and_the_next_one_is_answered(alone, converted):
    with pytest.raises(EngineError, match="board: the request 'dance' is unknown"):
        alone.ask("dance", NOTHING)
    with pytest.raises(EngineError, match="board: TypeError"):
        alone.ask("missing", MISSING, nothing=1)
    with pytest.raises(EngineError, match=r"board: the file (ab){32} arrived damaged"):
        alone.put(converted, "ab" * 32)
    assert alone.ask("missing", MISSING, files={}).missing == ()


class RecordingEngine:
    """Records the inputs that sessions are run with, and how often files are loaded."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.batches: list[np.ndarray] = []

    def load(self, path, _threads):
        self.loads.append(path.name)
        return SimpleNamespace(run=self.batches.append)


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """A board in this process, its answers, and its engine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sent: list[dict[str, object]] = []
    channel = SimpleNamespace(keep_alive=lambda: None, send=lambda **values: sent.append(values))
    made = Board(channel)
    made._engine = RecordingEngine()
    return made, sent, made._engine


def entries(*shapes):
    return [{"sha256": f"{index}", "name": f"{index}", "shape": list(shape)} for index, shape in enumerate(shapes)]


def test_inputs_are_those_that_the_machine_at_hand_would_take(recorded):
    made, _, engine = recorded
    shapes = [(3, 4, 5), (7,), (2, 8, 8)]
    made.load(entries(*shapes), threads=1, seed=5, timed=0, loads=3)
    for index, shape in enumerate(shapes):
        engine.batches.clear()
        made.run_for(index, 0.0)
        expected = np.random.default_rng(5).standard_normal((1, *shape), dtype=np.float32)
        np.testing.assert_array_equal(engine.batches[0], expected)
        assert engine.batches[0].flags.c_contiguous


def test_visits_are_as_long_as_on_the_machine_at_hand(recorded):
    made, sent, _ = recorded
    made.load(entries(SHAPE), threads=1, seed=0, timed=0, loads=3)
    made.visit([0, 0], **LIMITS)
    assert [answer["file"] for answer in sent] == [0, 0]
    assert all(len(answer["us"]) == timing.REPEATS[1] for answer in sent)


def test_when_memory_runs_out_files_are_dropped_and_loaded_again_when_they_are_visited(recorded, monkeypatch):
    made, sent, engine = recorded
    memory = {"MemTotal": 2**30, "MemAvailable": 2**29}
    monkeypatch.setattr(board, "memory", memory.get)
    made.load(entries(SHAPE, SHAPE), threads=1, seed=0, timed=2, loads=3)
    assert engine.loads == ["0"] * 3 + ["1"] * 3
    made.visit([0, 1, 0], **LIMITS)
    assert len(engine.loads) == 6
    memory["MemAvailable"] = 2**26
    made.load(entries(SHAPE, SHAPE), threads=1, seed=0, timed=0, loads=3)
    made.visit([0, 1, 0], **LIMITS)
    assert engine.loads[6:] == ["0", "1", "0", "1", "0"]
    assert [answer["file"] for answer in sent] == [0, 1, 0, 0, 1, 0]


def test_a_peak_is_unknown_if_numpy_is_in_use_already():
    assert "reason" in Board(None).peak(threads=1, side=8, copied=2**20, attempts=1)


def test_only_one_measurement_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(board, "LOCK_SECONDS", 0.2)
    words = f"already being measured, by process {os.getpid()}; wait, or run there: kill {os.getpid()}"
    with hold_machine("one"), pytest.raises(BoardError, match=words):
        hold_machine("another")
    hold_machine("another").close()


def test_a_full_disk_drops_files_of_earlier_measurements_and_only_then_refuses(tmp_path, monkeypatch):
    for name in ("old", "wanted"):
        (tmp_path / name).write_bytes(b"x")

    def usage(_):
        return SimpleNamespace(free=10**9 if not (tmp_path / "old").exists() else 10**6)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    make_room(tmp_path, 5 * 10**8, {"wanted": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["wanted"]
    words = "2000 MB have to be copied there and 34 MB to stay free, but only 1000 MB are free"
    with pytest.raises(BoardError, match=words):
        make_room(tmp_path, 2 * 10**9, {"wanted": 1})


def test_the_graph_that_is_sent_back_lacks_only_the_weights(converted):
    whole = converted.read_bytes()
    light = without_weights(whole)
    assert len(light) < len(whole) / 2
    before, after = onnx.ModelProto.FromString(whole), onnx.ModelProto.FromString(light)
    assert list(after.graph.node) == list(before.graph.node)
    shapes = [[(tensor.name, list(tensor.dims)) for tensor in model.graph.initializer] for model in (before, after)]
    assert shapes[0] == shapes[1]
    assert not any(tensor.raw_data for tensor in after.graph.initializer)


ARM = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: {}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "model", "name"),
    [
        ("model name\t: Fast CPU @ 2 GHz\n" * 2, "", "Fast CPU @ 2 GHz"),
        (ARM.format("0xd08") * 4, "Little Board 4\0", "Little Board 4 (4 x Cortex-A72)"),
        (ARM.format("0xd05") * 6 + ARM.format("0xd41") * 2, "", "6 x Cortex-A55 + 2 x Cortex-A78"),
        (ARM.format("0xfff"), "", "1 x ARM 0xfff"),
        ("isa\t: rv64imafdc\n", "Star Five\0", "Star Five"),
        (ARM.format("nonsense") + ARM.format("0xd08"), "", "1 x Cortex-A72"),
    ],
)
def test_a_board_and_its_processor_are_named(cpuinfo, model, name, tmp_path):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    if model:
        (tmp_path / "device-tree").mkdir()
        (tmp_path / "device-tree" / "model").write_text(model)
    assert processor(tmp_path) == name


@pytest.mark.parametrize(
    "text", ["", "MemTotal:\n", "MemTotal: x kB\n", "\n\nMemTotal:  " + "9" * 5000 + " kB\n", "\xb2"]
)
def test_memory_that_the_kernel_does_not_report_as_it_should_is_one_line(text, tmp_path):
    (tmp_path / "meminfo").write_text(text)
    with pytest.raises(BoardError, match="/proc/meminfo has no entry MemTotal"):
        board.memory("MemTotal", tmp_path)
    (tmp_path / "meminfo").write_text(text + "\nMemTotal:        2048 kB\nMemFree: 1 kB\nHugePages_Total:       0\n")
    assert board.memory("MemTotal", tmp_path) == 2**21
    assert board.memory("MemAvailable", tmp_path) == 2**10


def test_a_program_whose_other_side_is_gone_ends_and_a_request_to_it_fails(alone):
    alone.ask("hello", HELLO, engine="onnxruntime", token="a")
    alone._process.stdin.close()
    assert alone._process.wait(20) == 0
    with pytest.raises(LinkLostError, match="the connection has ended"):
        alone.ask("missing", MISSING, files={})
