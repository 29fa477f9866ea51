"""Mistakes of a user end with one line and an exit code, never with a traceback."""

from __future__ import annotations

import resource
import shutil
import signal

import numpy as np
import pytest

from exports.family.samples import png_bytes

_MEMORY = "{ram: 3 GiB, system_reserve: 1.2 GiB, app_share: %s}"


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("epochs: 10", "epoch: 10", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("seed: 0", "sead: 0", "unknown key 'sead'; did you mean 'seed'?"),
        ("latency: 1 ms", "latency: 1", "'targets.1.budgets.latency': 1 is not a duration such as '8 ms'"),
        ("peak_memory: 4 MiB", "peak_memory: 4 ms", "'4 ms' is not a size such as '64 MiB'"),
        (
            "latency: 1 ms",
            "latency: 30 fps",
            "'30 fps' is not a duration such as '8 ms'; a frame rate goes under frame",
        ),
        ("latency: 1 ms", "frame_rate: 33 ms", "'targets.1.budgets.frame_rate': '33 ms' is not a frame rate such as"),
        (
            "latency: 1 ms",
            "latency: 1 ms, frame_rate: 30 fps",
            "latency says 1 ms and frame_rate says 33.3 ms; keep one",
        ),
        ("file_size: 1 MiB", "download: 5", "'targets.1.budgets.download': 5 is not a size such as '64 MiB'"),
        (
            "peak_memory: 4 MiB",
            f"memory: {_MEMORY % '10'}",
            "budgets.memory.app_share': 10 is not a share such as '10 %'",
        ),
        ("peak_memory: 4 MiB", "ram: 4 GiB", "'targets.1.budgets': ram belongs in a section such as memory: {ram: 3"),
        ("latency: 1 ms", "energy: 3 ms", "'3 ms' is not an energy such as '3 mJ'; a duration goes under latency"),
        (
            "device: speaker, budgets: {",
            "device: host, budgets: {energy: 3 mJ, ",
            "'targets.0.budgets': device profile 'host' (shipped host) has no energy costs, which the budget energy: 3",
        ),
        ("threads: 1", "threads: two", "'threads': must be a whole number, got 'two'"),
        ("seed: 0", "seed: 0\nfloors: cloud", "'floors': must be a section with keys and values, got 'cloud'"),
        ("seed: 0", "seed: [", "is not valid YAML"),
        ("device: speaker", "device: speeker", "did you mean 'speaker'?"),
        ("device: speaker", "device: midrange", "device 'midrange' is a target twice"),
        ("source: digits", "source: digit", "unknown source 'digit'; did you mean 'digits'?"),
        ("source: digits", "source: 'no_such_module:f'", "no_such_module:f: cannot be imported"),
        ("source: digits", "source: folder, path: gone", "there is no such folder"),
        ("resolutions: [12, 16]", "resolutions: [12, 64]", "raise image_size, or lower the resolution"),
        ("batch_size: 64", "batch_size: 6400", "fewer than one batch of 6400"),
    ],
)
def test_a_wrong_config_ends_in_one_line(factory, app, edit_config, right, wrong, words):
    edit_config(app, right, wrong)
    shutil.rmtree(app / "runs")
    answer = factory(app, "build", "--quiet")
    assert answer.code == 1
    assert words in answer.error


def test_a_storage_that_cannot_be_used_ends_in_one_line(factory, app, edit_config):
    edit_config(app, "finalists: 2", "finalists: 2, storage: 'nosuchdb://x'")
    (app / "runs" / "tiny" / "stages" / "search.json").unlink()
    answer = factory(app, "build", "--quiet")
    assert answer.code == 1
    assert "search storage 'nosuchdb://x'" in answer.error


def test_held_out_images_that_are_all_kept_back_are_found_before_training(factory, empty_app, edit_config):
    edit_config(empty_app, "finalists: 2", "finalists: 2, final_images: 120")
    answer = factory(empty_app, "build")
    assert answer.code == 1
    assert "search.final_images: 120 of 120 held-out images are kept back" in answer.err
    assert not any(stage.startswith("train") for stage in answer.stages)


def test_a_budget_that_nothing_keeps_is_found_before_training(factory, empty_app, edit_config):
    edit_config(empty_app, "latency: 0.24 ms", "latency: 1 us")
    answer = factory(empty_app, "build")
    assert answer.code == 1
    assert "target 'speaker': none of its " in answer.err
    assert "latency" in answer.err
    assert not any(stage.startswith("train") for stage in answer.stages)


def test_a_storage_that_cannot_be_used_is_found_before_training(factory, empty_app, edit_config):
    edit_config(empty_app, "finalists: 2", "finalists: 2, storage: 'nosuchdb://x'")
    answer = factory(empty_app, "build")
    assert "search storage 'nosuchdb://x'" in answer.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "--config", "gone.yaml"), "gone.yaml: cannot be read (No such file or directory)"),
        (("build", "--config", "."), "is a folder; name a config file"),
        (("build", "--run", "runs/x", "--config", "factory.yaml"), "--run and --config exclude each other"),
        (("build", "--run", "runs"), "is not a run folder"),
        (("search", "--device", "midrnage"), "did you mean 'midrange'?"),
        (("search", "--device", "factory.yaml"), "factory.yaml: "),
        (("search", "--device", "midrange"), "run `factory train`"),
        (("export",), "run `factory train`"),
        (("verify", "."), "name a family's folder or manifest"),
        (("verify", "factory.yaml"), "is not valid JSON"),
    ],
)
def test_a_wrong_argument_ends_in_one_line_and_leaves_nothing_behind(factory, empty_app, arguments, words):
    answer = factory(empty_app, *arguments)
    assert answer.code == 1
    assert words in answer.error
    assert [path.name for path in empty_app.iterdir()] == ["factory.yaml"]


def test_a_command_in_a_folder_without_a_config_says_whose_supernet_it_misses(factory, tmp_path):
    answer = factory(tmp_path, "search", "--device", "midrange")
    assert answer.code == 1
    assert "no trained supernet of the embedded digits in " in answer.error
    assert answer.error.endswith("for a config of your own, change to its folder or name it with --config")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("option", "value"), [("--max-hours", "abc"), ("--max-memory-gib", "4G")])
def test_an_argument_that_is_no_number_is_named(factory, tmp_path, option, value):
    answer = factory(tmp_path, "build", option, value)
    assert answer.code == 2
    assert option in answer.error
    assert f"'{value}'" in answer.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--platform", "android", "--ram", "3"), "--ram: '3' is not a size"),
        (("--platform", "android", "--free-disk", "much"), "--free-disk: 'much' is not a size"),
    ],
)
def test_a_wrong_device_fact_ends_in_one_line(factory, built, arguments, words):
    answer = factory(built, "resolve", "dist/tiny", *arguments)
    assert answer.code == 1
    assert words in answer.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profile", "--precision", "int9"), "'int9' is not one of 'fp32', 'int8'"),
        (("profile", "--engine", "onnx"), "'onnx' is not one of 'onnxruntime', 'mnn'"),
        (("init", ".", "--template", "digit"), "'digit' is not one of 'cifar10',"),
        (("resolve", "dist/tiny", "--platform", "androd"), "'androd' is not one of 'android',"),
        (
            ("telemetry", "rows.csv", "--family", "dist/tiny", "--rounding", "up"),
            "'up' is not one of 'nearest', 'down'",
        ),
    ],
)
def test_a_closed_choice_lists_what_is_allowed_and_exits_with_2(factory, empty_app, arguments, words):
    answer = factory(empty_app, *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert [path.name for path in empty_app.iterdir()] == ["factory.yaml"]


def test_an_unknown_option_exits_with_2(factory, built):
    answer = factory(built, "build", "--bogus")
    assert answer.code == 2
    assert "No such option: --bogus" in answer.err


def test_a_budget_that_nothing_meets_names_it_and_the_best_that_was_found(factory, app, edit_config):
    edit_config(app, "latency: 1 ms", "latency: 1 us")
    answer = factory(app, "build", "--quiet")
    assert answer.code == 1
    assert "'midrange': none of its 96 subnets meets its budgets; at best, latency" in answer.error
    assert "exceeds 1 us; raise this budget" in answer.error


@pytest.mark.parametrize("content", ['{"key": "', '{"key": 1, "result": 2}'])
def test_a_stage_with_a_half_written_record_runs_again(factory, app, built, published, content):
    (app / "runs" / "tiny" / "stages" / "family.json").write_text(content, encoding="utf-8")
    answer = factory(app, "build")
    assert answer.code == 0
    assert "train supernet" not in answer.stages
    assert published(app) == published(built)


def test_a_damaged_study_ends_in_one_line(factory, app):
    (app / "runs" / "tiny" / "study.db").write_bytes(b"no database at all" * 100)
    (app / "runs" / "tiny" / "stages" / "snapshot.json").unlink()  # so that scores are read from the study
    answer = factory(app, "search", "--device", "highend", "-q")
    assert answer.code == 1
    assert "study.db" in answer.error


@pytest.mark.parametrize("lost", ["train", "search", "family"])
def test_a_full_disk_ends_in_one_line_and_the_next_build_resumes(factory, factory_process, app, built, published, lost):
    (app / "runs" / "tiny" / "stages" / f"{lost}.json").unlink()
    if lost == "train":
        (app / "runs" / "tiny" / "supernet.safetensors").unlink()
    if lost == "search":
        (app / "runs" / "tiny" / "study.db").unlink()

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1600, 1600))

    answer = factory_process(app, "build", "--quiet", preexec_fn=limit_files)
    assert answer.code == 1
    assert "cannot be " in answer.error
    assert factory(app, "build", "--quiet").code == 0
    assert published(app) == published(built)
    assert not list(app.rglob("*.partial-*"))


def test_a_truncated_image_is_named(factory, empty_app, edit_config):
    sample = png_bytes(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    for kind in ("cat", "dog"):
        (empty_app / "photos" / kind).mkdir(parents=True)
        for number in range(6):
            (empty_app / "photos" / kind / f"{number}.png").write_bytes(sample)
    (empty_app / "photos" / "dog" / "3.png").write_bytes(sample[: len(sample) // 2])
    edit_config(empty_app, "source: digits", "source: folder, path: photos")
    answer = factory(empty_app, "build", "--quiet")
    assert answer.code == 1
    assert "photos/dog/3.png" in answer.error
