"""Do the resolvers of all clients agree, does every device get an answer, and how long does one call take?

    MODEL_FACTORY_NPM=FOLDER python benchmarks/resolver.py

The resolver in Python, which defines the answers, is compared with those in TypeScript (on Node) and Kotlin (on a JVM)
on `--devices` random devices, in groups of 50 that share a random family. About half of the families are sound: the
factory could have written them. The others have up to four random faults: values of other types or of later formats,
names such as `__proto__`, missing fields. Half of the devices are calm: facts may be missing or nonsense, but the app
has the right engine, and neither policy nor client stop a file. `disagreements` counts the devices to which another
client gives another answer, in any field or reason. `uncovered` counts the calm devices of sound families
(`must_be_covered`) that get neither a model nor the cloud nor an explicit off. `codes`, `actions` and `errors` count
the devices with each of them.

Then one call is timed on a family of 12 models whose manifest (`manifest_bytes`) has everything that the factory writes
by default: the large model of the example manifest in 12 versions, each with latencies on 12 devices and the digests of
16 blocks, and a tier for each model. The device meets no tier, so all are judged. `*_ms` are medians of `--rounds`
calls, `*_first_ms` the first call of the process, which in an app is the only one; on the JVM it loads the classes.
Parsing the manifest is not included.

TypeScript needs Node, Kotlin what the tests need (`tests/exports/client/kotlin_client.py`); a client that cannot run
here is missing from `clients`.

`--quick` compares 2,000 devices.

The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from common import log, make_parser, parse_options, processor
from random_devices import cases

from exports.client.python.lines import answer
from exports.client.python.records import ClientState, DeviceFacts
from exports.client.python.resolver import resolve
from exports.family.manifest import json_text

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "exports" / "client"
NODE_PROGRAM = TESTS / "typescript" / "lines.mjs"
VECTORS = ROOT / "exports" / "client" / "vectors" / "resolver.json"
EXAMPLE = ROOT / "exports" / "family" / "manifest.example.json"
GROUP = 50
"""Devices per family: enough that most tiers and models are reached, few enough that there are many families."""
MODELS = 12
BLOCKS = 16
"""The most blocks of a file whose digests a manifest has."""
DEVICE = {
    "platform": "android", "ram_bytes": 3_900_000_000, "cores": 8, "os_version": "34", "soc_maker": "QTI",
    "soc_model": "SM8550", "engine": "onnxruntime", "engine_version": "1.22.0", "free_disk_bytes": 1 << 30,
    "available_memory_bytes": 1 << 30, "compute_units": ["npu", "cpu"],
}  # fmt: skip
SECONDS = 1200
"""Longer than a program needs for 100,000 devices on a busy machine."""
QUICK = {"devices": 2000}


@dataclass(slots=True)
class Outcome:
    """What the answers of the resolver in Python were."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    must_be_covered: int = 0
    uncovered: int = 0

    def add(self, found: dict[str, Any], *, must_be_covered: bool) -> None:
        """Count an answer."""
        self.answers.append(found)
        self.codes.update({code for *_, code in found.get("reasons", [])})
        name, counter = (found["error"], self.errors) if "error" in found else (found["action"], self.actions)
        counter[name] += 1
        self.must_be_covered += must_be_covered
        self.uncovered += must_be_covered and found.get("action") not in ("model", "cloud", "off")


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    programs = clients()
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines"
        outcome = ask_python(lines, options.seed, options.devices)
        found = {name: disagreements(program, lines, outcome.answers) for name, program in programs.items()}
    manifest = manifest_of_12_models()
    milliseconds = time_python(manifest, options.rounds)
    for name, program in programs.items():
        milliseconds |= time_program(name, program, manifest, options.rounds)
    result = {
        "disagreements": sum(found.values()),
        "clients": ["python", *programs],
        "devices": len(outcome.answers),
        "must_be_covered": outcome.must_be_covered,
        "uncovered": outcome.uncovered,
        "vectors": len(json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]),
        "manifest_bytes": len(manifest.encode()),
        **milliseconds,
        "actions": dict(outcome.actions.most_common()),
        "errors": dict(outcome.errors.most_common()),
        "codes": dict(outcome.codes.most_common()),
        "quick": options.quick,
        "machine": processor(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "seed": options.seed,
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--devices", type=int, default=100_000, help="random devices")
    parser.add_argument("--rounds", type=int, default=1000, help="timed calls")
    parser.add_argument("--seed", type=int, default=0)
    return parse_options(parser, arguments, QUICK)


def clients() -> dict[str, list[str]]:
    """The programs that resolve lines, by client, as far as they can run here."""
    found, node = {}, shutil.which("node")
    if node and NODE_PROGRAM.is_file():
        found["typescript"] = [node, str(NODE_PROGRAM)]
    sys.path.append(str(TESTS))
    import kotlin_client

    if fault := kotlin_client.missing():
        log(f"without Kotlin: {fault}")
    else:
        found["kotlin"] = kotlin_client.command("Lines", options=())
    return found


def ask_python(lines: Path, seed: int, devices: int) -> Outcome:
    """The answers of the resolver in Python. The same questions are written to the file `lines`."""
    outcome = Outcome()
    with lines.open("w", encoding="utf-8") as stream:
        for family, group in cases(seed, -(-devices // GROUP), GROUP):
            stream.write(json.dumps({"manifest": family.manifest}) + "\n")
            for device in group:
                stream.write(json.dumps(device.case) + "\n")
                outcome.add(answer(family.manifest, device.case), must_be_covered=family.sound and device.calm)
    return outcome


def disagreements(program: Sequence[str], lines: Path, expected: Sequence[dict[str, Any]]) -> int:
    """On how many devices a program gives another answer; the first ones are logged."""
    count = 0
    for index, (given, wanted) in enumerate(zip(answers(program, lines), expected, strict=True)):
        if given != wanted:
            count += 1
            if count <= 3:
                log(f"{program[0]}: device {index}: {given} instead of {wanted}")
    return count


def answers(program: Sequence[str], lines: Path) -> Iterator[Any]:
    """What a program answers to the lines of a file."""
    with lines.open("rb") as stream, tempfile.TemporaryFile() as output:
        subprocess.run(program, stdin=stream, stdout=output, check=True, timeout=SECONDS)
        output.seek(0)
        yield from map(json.loads, output)


def manifest_of_12_models() -> str:
    """The text of a manifest with as much about each model as the factory writes at most."""
    value = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    large, floor = value["models"]["large"], value["tiers"][0]
    digests = [hashlib.sha256(bytes([index])).hexdigest() for index in range(MODELS)]
    names = [f"m{digest[:12]}" for digest in digests]
    value["models"] = {}
    for name, digest in zip(names, digests, strict=True):
        file = large["files"][0] | {"name": f"models/{digest[:16]}.onnx", "sha256": digest}
        blocks = {"bytes": 1 << 16, "sha256": [digest] * BLOCKS}
        value["models"][name] = large | {
            "files": [file | {"blocks": blocks}],
            "needs": large["needs"] | {"load_us": 5120, "load_basis": "measured", "load_machine": processor()},
            "perf": [large["perf"][0] | {"device": f"tier_{index}"} for index in range(MODELS)],
        }
    tiers = [
        {"id": f"tier_{index}", "platform": "android", "rank": index + 1, "models": [name],
         "match": [{"ram_class_min": 8192, "cores_min": 8, "soc_exclude": [{"maker": "QTI", "model": "AR1"}]}],
         "churn": {"against": "tier_0", "changed_ppm": 8889, "gained_ppm": 6667, "lost_ppm": 2222}}
        for index, name in enumerate(names)
    ]  # fmt: skip
    value["tiers"] = [floor | {"models": names[:1]}, *tiers]
    value["floors"] = [{"platform": "web", "action": "off"}, {"platform": "ios", "action": "cloud"}]
    samples, size = value["samples"], {"height": 24, "width": 24, "dtype": "uint8", "count": 8}
    value["samples"] = {"kind": "tensors", "inputs": [samples["inputs"][0] | size], "expected": samples["expected"]}
    value.pop("evaluation", None)
    return json_text(value)


def time_python(manifest: str, rounds: int) -> dict[str, float]:
    """Milliseconds of the first call and of the median one."""
    value, facts, times = json.loads(manifest), DeviceFacts.from_json(DEVICE), []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        resolve(value, None, facts, ClientState(), 0)
        times.append(time.perf_counter_ns() - start)
    return summary("python", times)


def time_program(name: str, program: Sequence[str], manifest: str, rounds: int) -> dict[str, float]:
    """As `time_python`, for a program that takes `--time`."""
    case = {"policy": None, "facts": DEVICE, "state": {}, "now": 0}
    lines = "\n".join(json.dumps(value) for value in ({"manifest": json.loads(manifest)}, case))
    done = subprocess.run([*program, "--time", str(rounds)], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return summary(name, json.loads(done.stdout)["nanoseconds"])


def summary(name: str, nanoseconds: Sequence[float]) -> dict[str, float]:
    """The first and the median time in milliseconds."""
    return {
        f"{name}_ms": round(statistics.median(nanoseconds) / 1e6, 4),
        f"{name}_first_ms": round(nanoseconds[0] / 1e6, 3),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
