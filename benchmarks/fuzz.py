"""Does any damaged or hostile file end in a traceback, a hang or a full memory?

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --mutations 200 --kinds manifest telemetry --seed 7

Builds a small family of the digits, onboards a device to it, and writes tables and a shard of images. Then, for each
kind of file, it changes that file at random `--mutations` times and has the product read it, as a user would: through
the command, or through the function that the command calls first. Bits, slices, tokens and JSON values are changed, and
hostile values are put in: numbers beyond all limits, deep nesting, control characters, paths that lead elsewhere.
Digests in the manifest and in the profile are made to fit, so that the readers behind them are reached.

An answer or a message of one line is right. An exception that is not the product's own counts as a traceback, as does
the death of the process; a file that takes longer than `--patience` seconds is a hang; control characters in the output
are counted, too. Files that did harm are kept in `--keep DIR`. Each kind is read in processes of its own, whose largest
resident memory is `peak_gib`; they may not take more than `--memory-gib` of address space.

`--quick` makes 10 mutations of each kind instead of 2,000.

The last line of standard output is one JSON object. The exit code is 1 if it reports any traceback, hang or control
character.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from common import log, make_parser, parse_options, processor
from mutations import mutated

CONFIG = """\
name: fuzz
threads: 1
data: {source: digits, image_size: 16, limit: 600}
model:
  resolutions: [12, 16]
  stem_width: 8
  stages:
    - {widths: [8, 16], depths: [1, 2], kernels: [3, 5], expands: [1, 2], stride: 2}
  head_width: 32
training: {epochs: 2, batch_size: 64, learning_rate: 0.1}
search: {shared_subnets: 4, trials_per_target: 1, finalists: 2, calibration_images: 100}
targets:
  - {device: speaker, budgets: {latency: 1 ms, peak_memory: 1 MiB, file_size: 100 KiB}}
  - {device: midrange, budgets: {latency: 1 ms, peak_memory: 4 MiB, file_size: 1 MiB}}
"""

ROWS = 40
"""Rows of telemetry: few, so that a mutation changes something that matters."""

IMAGES = 30
"""In a table or shard: enough for splits by groups of 3."""

QUICK = {"mutations": 10}

CONTROL = re.compile(r".{0,60}[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069].{0,60}")
"""Control characters, line breaks other than ours, and marks that change the direction of text, with what is around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of file.

    Attributes:
        find: Returns the file to change, given the folder of the app.
        read: Has the product read the file; raises whatever the product raises.
        seal: Makes digests fit the changed file, given the folder of the app and the file.
    """

    find: Callable[[Path], Path]
    read: Callable[[Path, Path], None]
    seal: Callable[[Path, Path], None] = lambda *_: None


@dataclass(slots=True, kw_only=True)
class Findings:
    """What the mutations of a kind did."""

    tracebacks: int = 0
    hangs: int = 0
    control_characters: int = 0
    refused: int = 0
    peak_gib: float = 0.0
    examples: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        app = prepare(Path(temporary) / "app")
        found = {name: fuzz(name, app, Path(temporary) / "work", options) for name in options.kinds}
    for name, findings in found.items():
        print(f"{name:14} {summary(findings, options.mutations)}")
        for example in findings.examples:
            print(f"    {example}")
    result = {
        "mutations": options.mutations,
        "kinds": list(found),
        **{
            name: sum(getattr(f, name) for f in found.values())
            for name in ("tracebacks", "hangs", "control_characters")
        },
        "peak_gib": max(f.peak_gib for f in found.values()),
        "machine": processor(),
        "seed": options.seed,
        "seconds": round(time.monotonic() - started, 1),
        "quick": options.quick,
    }
    print(json.dumps(result))
    return int(bool(result["tracebacks"] or result["hangs"] or result["control_characters"]))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = make_parser(__doc__)
    parser.add_argument("--mutations", type=int, default=2000, help="mutations of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a file counts as a hang")
    parser.add_argument("--memory-gib", type=float, default=8.0, help="limit on the address space of a process")
    parser.add_argument("--keep", type=Path, help="folder for the files that did harm")
    return parse_options(parser, arguments, QUICK)


def summary(findings: Findings, mutations: int) -> str:
    """One line about the mutations of a kind."""
    return (
        f"{mutations} mutations: {findings.tracebacks} tracebacks, {findings.hangs} hangs, "
        f"{findings.control_characters} with control characters, {findings.refused} refused in one line, "
        f"peak {findings.peak_gib:.2f} GiB"
    )


def prepare(app: Path) -> Path:
    """A built family of the digits, a device that was onboarded to it, and rows of telemetry about it."""
    log("preparing: a small family, a device, telemetry")
    app.mkdir(parents=True)
    (app / "factory.yaml").write_text(CONFIG, encoding="utf-8")
    command(app, "build", "--quiet")
    shutil.copytree(app / "dist" / "fuzz", app / "dist" / "intact")
    command(app, "onboard", "--suggest", "5", "--like", "midrange", "--quiet")
    sheet = app / "networks" / "measurements.csv"
    rows = list(csv.reader(sheet.read_text(encoding="utf-8").splitlines()))
    for number, row in enumerate(rows[1:]):
        row[1] = str(0.05 + 0.01 * number)
    sheet.write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")
    command(
        app, "onboard", "networks/measurements.csv", "--like", "midrange", "--output", "profiles/onboarded.yaml", "-q"
    )
    shutil.copy(app / "profiles" / "onboarded.yaml", app / "profiles" / "tabled.yaml")
    (app / "telemetry.csv").write_text(telemetry(app), encoding="utf-8")
    write_data(app / "data")
    return app


def write_data(folder: Path) -> None:
    """The same few images in a table of each format and in a tar shard."""
    import pyarrow as pa
    from PIL import Image
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    folder.mkdir()
    rows = []
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for number in range(IMAGES):
            name = f"{number:02d}.png"
            Image.new("RGB", (8, 8), (8 * number, 255 - 8 * number, 0)).save(folder / name)
            row = {"label": "ab"[number % 2], "group": number // 3, "weight": 1.5}
            (folder / f"{number:02d}.json").write_text(json.dumps(row), encoding="utf-8")
            rows.append({"image": name, **row})
            archive.add(folder / name, name)
            archive.add(folder / f"{number:02d}.json", f"{number:02d}.json")
    table = pa.Table.from_pylist(rows)
    arrow_csv.write_csv(table, folder / "table.csv")
    parquet.write_table(table, folder / "table.parquet")
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def command(folder: Path, *arguments: str) -> None:
    """Run the command in a process of its own. Raises `RuntimeError` if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "model_factory", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"factory {' '.join(arguments)}: {done.stderr}")


def telemetry(app: Path) -> str:
    """Rows that an app would send about the family in `app`."""
    manifest = json.loads((app / "dist" / "fuzz" / "manifest.json").read_text(encoding="utf-8"))
    models = [
        (model["files"][0]["sha256"][:16], model["perf"][0]["latency_us"]) for model in manifest["models"].values()
    ]
    lines, now = ["device,model,latency_us,timestamp"], int(time.time())
    for row in range(ROWS):
        model, promised_us = models[row % len(models)]
        lines.append(f"phone {row % 3},{model},{promised_us * (0.4 + 0.01 * (row % 7)):.1f},{now - 3600 * row}")
    return "\n".join(lines) + "\n"


def factory(*arguments: object) -> None:
    """Run the command in this process."""
    from model_factory.__main__ import main as factory_main

    factory_main([str(argument) for argument in arguments])


def read_manifest(app: Path, _file: Path) -> None:
    """Resolve, compare and verify the family, whatever the command before said."""
    family, facts = app / "dist" / "fuzz", ("--platform", "android", "--ram", "3 GiB", "--cores", "8")
    each(
        lambda: factory("resolve", family, "--json", *facts),
        lambda: factory("diff", app / "dist" / "intact", family),
        lambda: factory("verify", family),
    )


def read_samples(app: Path, _file: Path) -> None:
    """Verify the family."""
    factory("verify", app / "dist" / "fuzz")


def read_predictions(app: Path, _file: Path) -> None:
    """Compare the family with the intact one."""
    factory("diff", app / "dist" / "intact", app / "dist" / "fuzz")


def read_config(_app: Path, file: Path) -> None:
    """Read the config, and find its targets."""
    from model_factory.run import find_run

    find_run(None, file)


def read_profile(app: Path, file: Path) -> None:
    """Find the profile, and predict the costs of two subnets on it."""
    from device_profiles import DeviceCosts, find_profile

    workloads = _workloads(app)
    space = workloads.model_space.space
    DeviceCosts(workloads, find_profile(str(file), app)).of([space.largest, space.smallest])


def read_checkpoint(app: Path, file: Path) -> None:
    """Load the supernet."""
    from supernet import load_supernet

    load_supernet(file, _workloads(app).model_space)


def read_telemetry(app: Path, file: Path) -> None:
    """Compare telemetry with the family."""
    factory("telemetry", file, "--family", app / "dist" / "fuzz")


def read_data(_app: Path, file: Path) -> None:
    """Load a table or a tar shard as training does."""
    from supernet.data.config import DataConfig
    from supernet.data.sources import load_splits

    source = "webdataset" if file.suffix == ".tar" else "table"
    config = DataConfig(
        source=source, path=str(file), image_size=8, group_column="group", weight_column="weight", cache="memory"
    )
    load_splits(config, file.parent, seed=0)


def _workloads(app: Path) -> Any:
    """The workloads of the model space of `app`, made once in a process."""
    if app not in _WORKLOADS:
        import yaml

        from device_profiles import Workloads
        from supernet import MobileNetConfig, make_model_space

        config = MobileNetConfig.model_validate(yaml.safe_load(CONFIG)["model"])
        _WORKLOADS[app] = Workloads(make_model_space(config, 10))
    return _WORKLOADS[app]


_WORKLOADS: dict[Path, Any] = {}


def each(*commands: Callable[[], None]) -> None:
    """Run all commands, then raise what the first one raised that ended in an error."""
    first: BaseException | None = None
    for run in commands:
        try:
            run()
        except SystemExit as leaving:
            first = first or leaving
    if first is not None:
        raise first


def seal_family(app: Path, file: Path) -> None:
    """Make size and digest of a file in the manifest fit its content."""
    family = app / "dist" / "fuzz"
    manifest, data = json.loads((family / "manifest.json").read_bytes()), file.read_bytes()
    for entry in entries(manifest):
        if entry["name"] == file.relative_to(family).as_posix():
            entry["bytes"], entry["sha256"] = len(data), sha256(data).hexdigest()
    (family / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def entries(value: Any) -> Iterator[dict[str, Any]]:
    """All objects of a JSON value that describe a file."""
    if isinstance(value, dict) and "sha256" in value and "name" in value:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from entries(part)


def seal_profile(app: Path, file: Path) -> None:
    """Make the digest of the latency table in its profile fit."""
    profile = app / "profiles" / "onboarded.yaml"
    text = re.sub(
        "sha256: [0-9a-f]{64}", f"sha256: {sha256(file.read_bytes()).hexdigest()}", profile.read_text(encoding="utf-8")
    )
    profile.write_text(text, encoding="utf-8")


def any_of(pattern: str) -> Callable[[Path], Path]:
    """Finds the first file, by name, that matches `pattern` in the folder of the app."""
    return lambda app: sorted(app.glob(pattern))[0]


KINDS = {
    "manifest": Kind(find=any_of("dist/fuzz/manifest.json"), read=read_manifest),
    "config": Kind(find=any_of("factory.yaml"), read=read_config),
    "profile": Kind(find=any_of("profiles/tabled.yaml"), read=read_profile),
    "latency table": Kind(
        find=any_of("profiles/onboarded*.json"),
        read=lambda app, _: read_profile(app, app / "profiles" / "onboarded.yaml"),
        seal=seal_profile,
    ),
    "sample": Kind(find=any_of("dist/fuzz/samples/*.png"), read=read_samples, seal=seal_family),
    "expected": Kind(find=any_of("dist/fuzz/samples/*.json"), read=read_samples, seal=seal_family),
    "predictions": Kind(find=any_of("dist/fuzz/evaluation/m*.npy"), read=read_predictions, seal=seal_family),
    "checkpoint": Kind(find=any_of("runs/fuzz/supernet.safetensors"), read=read_checkpoint),
    "telemetry": Kind(find=any_of("telemetry.csv"), read=read_telemetry),
    "CSV": Kind(find=any_of("data/table.csv"), read=read_data),
    "JSON Lines": Kind(find=any_of("data/table.jsonl"), read=read_data),
    "Parquet": Kind(find=any_of("data/table.parquet"), read=read_data),
    "tar shard": Kind(find=any_of("data/shard.tar"), read=read_data),
}


def fuzz(name: str, app: Path, work: Path, options: argparse.Namespace) -> Findings:
    """Change files of a kind, and have the product read them, in processes that are replaced when they hang or die."""
    findings, at = Findings(), 0
    while at < options.mutations:
        at = watch(name, app, work, at, findings, options)
    log(f"{name}: {summary(findings, options.mutations)}")
    return findings


def watch(name: str, app: Path, work: Path, first: int, findings: Findings, options: argparse.Namespace) -> int:
    """Watch one process from mutation `first` on; returns the number of the next mutation."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(app, work)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=read_all, args=(name, work, first, there, options), daemon=False)
    process.start()
    there.close()
    at, harm = first, ""
    try:
        intact = here.recv()
        if intact["refused"]:
            raise RuntimeError(f"{name}: the intact file is refused: {intact['text']}")
        while at < options.mutations:
            if not here.poll(options.patience):
                findings.hangs, harm = findings.hangs + 1, f"hangs for more than {options.patience:g} s"
                break
            outcome = here.recv()
            count(outcome, findings)
            if outcome["harm"]:
                keep(name, work, at, outcome["harm"], findings, options)
            at += 1
            if at % 200 == 0:
                log(f"{name}: {at} of {options.mutations}")
    except EOFError:
        process.join()
        findings.tracebacks, harm = findings.tracebacks + 1, f"the process ended with exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()
    if harm:
        keep(name, work, at, harm, findings, options)
        at += 1
    return at


def count(outcome: dict[str, Any], findings: Findings) -> None:
    """Add the outcome of a mutation."""
    findings.tracebacks += outcome["traceback"]
    findings.control_characters += outcome["control"]
    findings.refused += outcome["refused"]
    findings.peak_gib = max(findings.peak_gib, outcome["peak_gib"])


def keep(name: str, work: Path, at: int, harm: str, findings: Findings, options: argparse.Namespace) -> None:
    """Note what happened, and keep the file."""
    findings.examples.append(f"mutation {at}: {harm}")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(KINDS[name].find(work), options.keep / f"{name.replace(' ', '-')}-{at}")


def read_all(name: str, work: Path, first: int, connection: Connection, options: argparse.Namespace) -> None:
    """In a process of its own: read one changed file after the other, and report what happens."""
    limit = int(options.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(work)
    kind = KINDS[name]
    file = kind.find(work)
    intact = file.read_bytes()
    kind.seal(work, file)
    connection.send(outcome_of(kind, work, file))
    for at in range(first, options.mutations):
        file.write_bytes(mutated(intact, random.Random(f"{options.seed} {name} {at}")))
        kind.seal(work, file)
        connection.send(outcome_of(kind, work, file))
    file.write_bytes(intact)


def outcome_of(kind: Kind, work: Path, file: Path) -> dict[str, Any]:
    """Have the product read the file once."""
    from factory_base.errors import FactoryError

    out, harm, refused = io.StringIO(), "", False
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            kind.read(work, file)
    except SystemExit as leaving:
        refused = bool(leaving.code)
    except FactoryError as error:
        refused = True
        out.write(" ".join(str(error).split()))
    except BaseException as error:  # whatever it is, it is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        harm = f"{type(error).__name__}: {str(error)[:200]!r} at {Path(where.filename).name}:{where.lineno}"
    control = CONTROL.search(out.getvalue())
    used = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "traceback": int(bool(harm)),
        "control": int(control is not None),
        "refused": int(refused),
        "text": out.getvalue(),
        "harm": harm or (f"control characters: {control[0]!r}" if control else ""),
        "peak_gib": round(used / 2**20, 2),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
