"""`kill -9` in another process, at any time and with every option: the resumed run ends with the same bits."""

from __future__ import annotations

import ast
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_run
import torch
from small_run import Job

import supernet
from factory_base.errors import CheckpointError, TrainingError
from factory_base.files import TEMPORARY_MARK
from supernet.sharing.supernet import Supernet
from supernet.training.checkpoint import load_state, load_supernet
from supernet.training.trainer import Trainer
from supernet.training.training import good_state_file

ALWAYS, NEVER = {"save_every": 1e-9}, {"save_every": 1e6}
ADAMW = {"optimizer": "adamw", "learning_rate": 0.002, "teacher": "ema", "micro_batch_size": 8, "epochs": 4}
BFLOAT16 = {"precision": "bfloat16", "hard_label_share": 0.5, "distillation": "alpha"}
FLOAT16 = {"precision": "float16", "sampler": "macs", "learning_rate": 0.002}
POISONED = (1,)  # in the second epoch; whether a high learning rate diverges depends on how a processor rounds


def kill(job: Job) -> None:
    """Run `job` in a process that dies as the job states."""
    torch.set_num_threads(1)
    Path(job.folder).mkdir(exist_ok=True)
    process = small_run.start([job], log := Path(job.folder) / "log.txt")
    process.join(timeout=200)
    assert process.exitcode == -signal.SIGKILL, log.read_text(encoding="utf-8")


def bits(trained: Supernet) -> dict[str, bytes]:
    return {name: value.detach().contiguous().numpy().tobytes() for name, value in trained.named_parameters()}


@pytest.mark.parametrize(
    ("training", "space", "death"),
    [
        pytest.param(ADAMW | NEVER, "mobilenet", {"step": 9}, id="adamw-ema-micro-batches-from-the-good-state"),
        pytest.param(BFLOAT16 | ALWAYS, "mobilenet", {"write": 8}, id="bfloat16-alpha-half-written"),
        pytest.param(FLOAT16 | ALWAYS, "loud", {"rename": 9}, id="float16-macs-not-yet-renamed"),
    ],
)
def test_a_killed_run_ends_bit_identical(tmp_path: Path, training: dict, space: str, death: dict[str, int]) -> None:
    undisturbed, whole, notes = small_run.run(Job(folder=str(tmp_path / "a"), training=training, space=space))
    killed = Job(folder=str(tmp_path / "b"), training=training, space=space, death=death)
    kill(killed)
    left = list((tmp_path / "b").glob(f"*{TEMPORARY_MARK}*"))
    assert bool(left) == ("step" not in death)
    resumed, again, _ = small_run.run(Job(folder=killed.folder, training=training, space=space))
    assert bits(resumed) == bits(undisturbed)
    assert (again.curve, again.rollbacks) == (whole.curve, whole.rollbacks)
    assert (whole.rollbacks, notes) == (0, [])


def test_a_run_that_is_killed_after_a_roll_back_ends_bit_identical(tmp_path: Path) -> None:
    undisturbed, whole, notes = small_run.run(Job(folder=str(tmp_path / "a"), poisoned_epochs=POISONED))
    assert whole.rollbacks == len(notes) == 1
    kill(Job(folder=str(tmp_path / "b"), training=ALWAYS, poisoned_epochs=POISONED, death={"step": 12}))
    resumed, again, _ = small_run.run(Job(folder=str(tmp_path / "b"), training=ALWAYS))
    assert bits(resumed) == bits(undisturbed)
    assert (again.curve, again.rollbacks) == (whole.curve, 1)


def test_a_run_that_is_killed_several_times_ends_bit_identical(tmp_path: Path) -> None:
    undisturbed, _, _ = small_run.run(Job(folder=str(tmp_path / "a")))
    for death in ({"write": 1}, {"check": 4}, {"rename": 5}):
        kill(Job(folder=str(tmp_path / "b"), training=ALWAYS, death=death))
    resumed, _, _ = small_run.run(Job(folder=str(tmp_path / "b"), training=ALWAYS))
    assert bits(resumed) == bits(undisturbed)


def test_the_scale_of_float16_gradients_falls_and_is_part_of_the_state(tmp_path: Path) -> None:
    small_run.run(Job(folder=str(tmp_path), training=FLOAT16, space="loud"))
    state = load_state(tmp_path / "state.safetensors", "run")
    assert state is not None
    assert state.note.progression.gradient_scale < 65536
    assert 0 < state.note.progression.growth < 12


def test_float16_is_rolled_back_if_no_scale_makes_the_gradient_finite(tmp_path: Path) -> None:
    training = FLOAT16 | {"largest_only": 0.0, "epochs": 12, "rollbacks": 2}
    with pytest.raises(TrainingError, match=r"norm of the gradient is nan at step 1\d of 48, .* after 2 roll-backs"):
        small_run.run(Job(folder=str(tmp_path), training=training, space="broken"))


def test_an_interruption_during_a_roll_back_saves_nothing_that_is_half_restored(tmp_path: Path, monkeypatch) -> None:
    undisturbed, whole, _ = small_run.run(Job(folder=str(tmp_path / "a"), poisoned_epochs=POISONED))
    restore = Trainer.restore

    def interrupted(*arguments) -> None:
        restore(*arguments)
        raise KeyboardInterrupt

    job = Job(folder=str(tmp_path / "b"), poisoned_epochs=POISONED)
    monkeypatch.setattr(Trainer, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_run.run(job)
    monkeypatch.undo()
    resumed, again, _ = small_run.run(job)
    assert bits(resumed) == bits(undisturbed)
    assert again.rollbacks == whole.rollbacks == 1


def test_a_roll_back_does_not_count_time_twice(tmp_path: Path) -> None:
    started = time.monotonic()
    _, outcome, _ = small_run.run(Job(folder=str(tmp_path), poisoned_epochs=(2,)))
    assert outcome.rollbacks == 1
    assert outcome.seconds <= time.monotonic() - started


def test_a_pickle_named_safetensors_is_refused_and_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    path = tmp_path / "state.safetensors"
    for disguise in (pickle.dumps(Trap()), _saved_by_torch(Trap(), tmp_path)):
        path.write_bytes(disguise)
        good_state_file(path).write_bytes(disguise)
        with pytest.raises(CheckpointError, match=r"state.safetensors: is not a readable safetensors file"):
            load_supernet(path, small_run.model_space("loud"))
        with pytest.raises(CheckpointError, match=r"state.safetensors: is not a readable .* it is not continued"):
            load_state(path, "run")
        small_run.run(Job(folder=str(tmp_path), training={"learning_rate": 0.002}, space="loud"))
    assert not (tmp_path / "run").exists()


def _saved_by_torch(value: object, folder: Path) -> bytes:
    path = folder / "saved.pt"
    torch.save(value, path)
    return path.read_bytes()


def test_only_the_import_of_once_for_all_checkpoints_reads_pickles() -> None:
    root = Path(supernet.__file__).parents[1]
    packages = ("factory_base", "supernet", "search", "device_profiles", "exports", "model_factory")
    files = [path for package in packages for path in (root / package).rglob("*.py")]
    found = {(path.name, call) for path in files for call in _unpickling(ast.parse(path.read_text(encoding="utf-8")))}
    assert len(files) > 50
    assert found <= {("foreign_tensors.py", "torch.load(weights_only=True)")}


def _unpickling(tree: ast.AST) -> Iterator[str]:
    """Calls and imports that can run code from a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"} & {
                n.partition(".")[0] for n in names
            }
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = [ast.unparse(keyword) for keyword in node.keywords]
            if name in {"torch.load", "torch.jit.load"}:
                yield f"{name}({', '.join(o for o in options if o.startswith('weights_only'))})"
            if name.endswith("read_pickle") or "allow_pickle=True" in options:
                yield name
