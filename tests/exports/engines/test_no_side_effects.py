"""Engines start no process, open no connection, and write only the files that they are asked for, always the same."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exports.engines import get_engine

pytest.importorskip("MNN")

ROOT = Path(__file__).resolve().parents[3]
WATCH = """
import sys
FORBIDDEN = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "pty.spawn",
             "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}
seen = []
def watch(event, arguments):
    if event in FORBIDDEN or event == "import" and arguments[0].split(".")[0] in ("pip", "aliyun"):
        seen.append(event)
sys.addaudithook(watch)
"""
REPORT = """
import json, os
sockets = []
if os.path.isdir("/proc/self/fd"):
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            sockets += [name for name in [os.readlink(f"/proc/self/fd/{descriptor}")] if name.startswith("socket:")]
        except OSError:
            pass
print(json.dumps({"seen": seen, "sockets": sockets}))
"""
ENGINES = """
import sys
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from network import make
from exports.engines import ENGINES, get_engine
torch.set_num_threads(1)
images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
for name in sorted(ENGINES):
    engine = get_engine(name)
    for precision in engine.precisions:
        path = Path("work") / f"{precision}.{name}"
        engine.convert(make(), (3, 8, 8), path, precision=precision, calibration=images)
        session = engine.load(path, 2)
        assert session.run(images).shape == (2, 2)
        session.peak_memory_bytes(), session.kernel_latency_us(images)
"""
NETWORK = """
import torch
from torch import nn
def make():
    torch.manual_seed(7)
    net = Net().eval()
    nn.init.normal_(net.conv.weight)
    return net
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
    def forward(self, x):
        return self.head(nn.functional.hardswish(self.norm(self.conv(x))).mean((2, 3)))
"""
CONTROLS = {
    "subprocess.Popen": "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
    "os.system": "import os; os.system(':')",
    "socket.connect": "import socket; s = socket.socket(); s.settimeout(0.1); s.connect_ex(('127.0.0.1', 9))",
    "socket.getaddrinfo": "import socket; socket.getaddrinfo('localhost', 9)",
    "import": "import pip",
}


def run(body: str, folder: Path, *arguments: str) -> dict[str, list[str]]:
    """Run `body` in a new process whose home, temporary and working folders are empty folders below `folder`."""
    for name in ("home", "tmp", "cwd/work"):
        (folder / name).mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "CI"))}
    environment = kept | {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    environment |= {"PYTHONHASHSEED": "5", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCH + body + REPORT, *arguments]
    done = subprocess.run(
        command, cwd=folder / "cwd", env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    return json.loads(done.stdout)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write_network(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "network.py").write_text(NETWORK)
    return folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> tuple[Path, dict[str, list[str]]]:
    """The folder of a process in which each engine converted and ran a network, and what was seen of it."""
    network, folder = write_network(tmp_path_factory.mktemp("network") / "nested"), tmp_path_factory.mktemp("elsewhere")
    return folder, run(ENGINES, folder, str(network))


def test_engines_touch_nothing_but_the_files_they_were_asked_for(elsewhere):
    folder, seen = elsewhere
    assert seen == {"seen": [], "sockets": []}
    assert files(folder) == [
        "cwd/work/fp16.onnxruntime", "cwd/work/fp32.mnn", "cwd/work/fp32.onnxruntime", "cwd/work/int8.onnxruntime",
        "cwd/work/int8_weights.onnxruntime",
    ]  # fmt: skip
    assert not list((folder / "home").iterdir())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_another_process_in_another_folder_writes_the_same_onnx_file(precision, elsewhere, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_network(tmp_path / "here"))
    monkeypatch.delitem(sys.modules, "network", raising=False)
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    network, path = importlib.import_module("network"), tmp_path / "ours"
    get_engine("onnxruntime").convert(network.make(), (3, 8, 8), path, precision=precision, calibration=images)
    monkeypatch.delitem(sys.modules, "network")
    assert path.read_bytes() == (elsewhere[0] / f"cwd/work/{precision}.onnxruntime").read_bytes()


@pytest.mark.parametrize("event", sorted(CONTROLS))
def test_the_watch_sees_each_forbidden_event(event, tmp_path):
    assert event in run(CONTROLS[event], tmp_path)["seen"]


def test_the_watch_sees_an_open_connection_and_a_file_in_the_home_folder(tmp_path):
    body = "import socket, pathlib; kept = socket.socket(); (pathlib.Path.home() / 'note').write_text('')"
    assert len(run(body, tmp_path)["sockets"]) == 1
    assert files(tmp_path) == ["home/note"]
