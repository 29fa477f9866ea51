"""What does a table of a million rows take before training starts: memory for its index, seconds to the first batch?

    python benchmarks/table_source.py
    python benchmarks/table_source.py --rows 200000 --formats csv parquet

The rows name images in folders of 1,000, as PNG files of 32x32 pixels (hard links to 1,000 different ones, which a file
system treats as a million files), with one of 1,000 classes, a group of 20 rows and a weight. For each format, a new
process loads the table, looks for all image files, takes labels, groups and weights, draws splits by whole groups, and
decodes a batch of training images at random rows. The seconds count from the start of the process, imports included;
they depend on the load of the machine, the CPU seconds hardly. The index is what a process that has loaded a table of
1,000 rows before, and with it all libraries, holds more once the memory that reading needed is given back; the peak is
the most that the process held.

At last `--missing` of the files are removed: loading must name the first, and list all of them in a file.

Not included: the one pass over all images that a run makes before training, for the statistics of the channels and to
find damaged images. It takes as long as decoding them all.

`--quick` takes 100,000 rows and CSV only.

Standard output ends with one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log, make_parser, parse_options
from PIL import Image

PER_FOLDER = 1_000
PICTURES = 1_000
CLASSES = 1_000
GROUP_ROWS = 20
SIZE = 32
BATCH = 128
BYTES_PER_ROW, SECONDS = 200, 10
"""What is to be reached for a million rows."""

QUICK = {"rows": 100_000, "formats": ["csv"]}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    if options.measure:
        measure = time_of if options.measure == "time" else index_of
        print(json.dumps(measure(options.table, options.seed)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        log(f"writing {options.rows:,} rows and images to {folder} ...")
        write_images(folder, options.rows, options.seed)
        formats = {}
        for name in options.formats:
            table = write_table(folder, options.rows, name, options.seed)
            formats[name] = {
                **in_new_process("time", table, options.seed),
                **in_new_process("index", table, options.seed),
            }
            log(f"{name}: {formats[name]}")
        missing = find_missing(folder / f"table.{options.formats[0]}", options)
    reached = all(
        f["index_bytes_per_row"] <= BYTES_PER_ROW and f["first_batch_seconds"] <= SECONDS for f in formats.values()
    )
    result = {
        "benchmark": "table_source",
        "rows": options.rows,
        "formats": formats,
        "missing": missing,
        "reached": reached,
        "quick": options.quick,
        **environment(options.seed),
    }
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table, and image files")
    parser.add_argument(
        "--formats", nargs="+", choices=["csv", "jsonl", "parquet"], default=["csv", "jsonl", "parquet"]
    )
    parser.add_argument("--missing", type=int, default=10, help="image files that are removed at last")
    parser.add_argument("--folder", type=Path, help="where the images are written; the temporary folder by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=["time", "index"], help=argparse.SUPPRESS)  # what a new process does
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    return parse_options(parser, arguments, QUICK)


def image_name(row: int) -> str:
    """The path of an image in the table."""
    return f"images/{row // PER_FOLDER:04d}/{row:07d}.png"


def write_images(folder: Path, rows: int, seed: int) -> None:
    """Write `PICTURES` different images, and links to them in folders of `PER_FOLDER`."""
    generator = np.random.default_rng(seed)
    pictures = folder / "pictures"
    pictures.mkdir()
    for picture in range(PICTURES):
        pixels = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{picture}.png")
    for row in range(rows):
        if row % PER_FOLDER == 0:
            (folder / image_name(row)).parent.mkdir(parents=True)
        os.link(pictures / f"{row % PICTURES}.png", folder / image_name(row))


def write_table(folder: Path, rows: int, suffix: str, seed: int, name: str = "table") -> Path:
    """Write the table in one format; its rows are in no order of class or group."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    generator = np.random.default_rng(seed)
    order = generator.permutation(rows)
    table = pa.table(
        {
            "image": [image_name(row) for row in order.tolist()],
            "label": [
                f"class {label:03d}"
                for label in generator.integers(0, max(2, min(CLASSES, rows // 100)), rows).tolist()
            ],
            "patient": [f"patient {row // GROUP_ROWS:06d}" for row in order.tolist()],
            "weight": generator.uniform(0.5, 2.0, rows).round(3),
        }
    )
    path = folder / f"{name}.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path)
    elif suffix == "csv":
        csv.write_csv(table, path)
    else:
        with path.open("w", encoding="utf-8") as stream:
            for batch in table.to_batches(max_chunksize=PER_FOLDER):
                stream.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
    return path


def in_new_process(measure: str, table: Path, seed: int) -> dict[str, Any]:
    """What a process of its own measures."""
    command = [sys.executable, __file__, "--measure", measure, "--table", str(table), "--seed", str(seed)]
    started = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "finished" in found:
        found["first_batch_seconds"] = round(found.pop("finished") - started, 2)
    return found


def load(table: Path) -> tuple[Any, Any]:
    """The config of the table, and the table as a source of images."""
    from supernet.data.config import DataConfig
    from supernet.data.sources import SOURCES

    config = DataConfig(
        source="table", path=str(table), image_size=SIZE, group_column="patient", weight_column="weight"
    )
    return config, SOURCES["table"](config, Path(), "class")


def time_of(table: Path, seed: int) -> dict[str, Any]:
    """Load a table, draw splits, and decode a batch."""
    from factory_base.progress import silent
    from supernet.data.splitting import plan_splits

    config, source = load(table)
    plan = plan_splits(source, config, seed)
    chosen = np.random.default_rng(seed).choice(len(plan.train), BATCH, replace=False)
    images = source.train.read(np.sort(plan.train[chosen]), config.form, silent)
    return {
        "finished": time.time(),
        "first_batch_cpu_seconds": round(time.process_time(), 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "batch": len(images),
        "splits": [len(plan.train), len(plan.heldout), len(plan.test)],
        "notes": list(plan.notes),
    }


def index_of(table: Path, seed: int) -> dict[str, Any]:
    """Load a small table, and the large one: the bytes that the latter holds per row."""
    small = write_table(table.parent, PER_FOLDER, table.suffix[1:], seed, name="small")
    load(small)
    before = resident_bytes()
    _, source = load(table)
    return {"index_bytes_per_row": round((resident_bytes() - before) / len(source.train.labels), 1)}


def resident_bytes() -> int:
    """Memory of this process, after what is freed was given back to the system, which libraries keep for later."""
    import ctypes
    import gc

    import pyarrow as pa

    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def find_missing(table: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Remove some image files, and load the table: the error, and how many files its list names."""
    from factory_base.errors import DataError
    from model_factory.stages.fingerprint import data_fingerprint
    from supernet.data.config import DataConfig

    removed = np.random.default_rng(options.seed).choice(options.rows, options.missing, replace=False)
    for row in removed.tolist():
        (table.parent / image_name(row)).unlink()
    started = time.perf_counter()
    try:
        data_fingerprint(DataConfig(source="table", path=str(table)), Path(), table.parent / "memo.json")
    except DataError as error:
        seconds = time.perf_counter() - started
        lines = (table.parent / "missing_files.tsv").read_text(encoding="utf-8").splitlines()[1:]
        found = {Path(line.partition("\t")[2]).relative_to(table.parent).as_posix() for line in lines}
        all_listed = found == {image_name(row) for row in removed.tolist()}
        return {"removed": len(removed), "all_listed": all_listed, "seconds": round(seconds, 2), "message": str(error)}
    return {"removed": len(removed), "all_listed": False}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
