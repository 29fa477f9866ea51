"""How close what an app makes of a picture is to what training made of it, by fitting, and what decoding takes.

    python benchmarks/fitting.py                    # the two photographs that scikit-learn embeds
    python benchmarks/fitting.py --data photos      # every picture below a folder, by the same measures

Each picture is decoded as training decodes it (`supernet.data.decoding`), once as its own file and once from a PNG of
its pixels, which no decoder reads otherwise. The client in Python computes the base size from the pixels that Pillow
decodes at full resolution. `png` is the difference of the fitting alone, `file` also that of decoding: training decodes
a JPEG of more than four times the base size at a half, a quarter or an eighth. Differences are in grey levels of 255.
Milliseconds are those of the processor: the medians over rounds of decoding the picture's own file in one thread.
`--quick` times 3 rounds.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, make_parser, parse_options
from numpy.typing import NDArray
from PIL import Image

from exports.client.python.inputs import input_form
from exports.family.input_form import preprocessing
from supernet.data.decoding import decode
from supernet.data.formats import EXTENSIONS
from supernet.data.image_form import Fitting, ImageForm

SIZES = (32, 96, 224)
FITTINGS: tuple[Fitting, ...] = ("squash", "crop", "letterbox")
ROUNDS = 30


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    files = pictures(options.data)
    forms = [ImageForm(height=size, width=size, fitting=fitting) for size in SIZES for fitting in FITTINGS]
    rows = [measured(form, files, options.rounds) for form in forms]
    print("| base size | fitting | png: bytes that differ, most | file: mean, most | ms per picture |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['size']} | {row['fitting']} | {100 * row['png_share']:.2f} %, {row['png_most']} | "
            f"{row['file_mean']:.2f}, {row['file_most']} | {row['ms']:.1f} |"
        )
    result = {"benchmark": "fitting", "quick": options.quick, "pictures": len(files), "rows": rows, **environment(0)}
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, help="a folder of pictures; default: those in scikit-learn")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the timing")
    return parse_options(parser, arguments, {"rounds": 3})


def pictures(folder: Path | None) -> list[bytes]:
    """The files of the pictures."""
    if folder is None:
        from sklearn import datasets

        folder = Path(datasets.__file__).parent / "images"
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not found:
        raise SystemExit(f"{folder}: holds no pictures")
    return [path.read_bytes() for path in found]


def measured(form: ImageForm, files: Sequence[bytes], rounds: int) -> dict[str, Any]:
    """The differences and the time for one form."""
    png, file = [], []
    for encoded in files:
        pixels = full(encoded)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        of_app = in_app(pixels, form)
        png.append(np.abs(training(stream.getvalue(), form) - of_app))
        file.append(np.abs(training(encoded, form) - of_app))
    return {
        "size": form.height,
        "fitting": form.fitting,
        "png_share": float(np.mean([(values > 0).mean() for values in png])),
        "png_most": int(max(values.max() for values in png)),
        "file_mean": float(np.mean([values.mean() for values in file])),
        "file_most": int(max(values.max() for values in file)),
        "ms": 1e3 * statistics.median(seconds(form, files) / len(files) for _ in range(rounds)),
    }


def full(encoded: bytes) -> NDArray[np.uint8]:
    """The RGB pixels of a picture at full resolution, uint8 `(height, width, 3)`."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def training(encoded: bytes, form: ImageForm) -> NDArray[np.int64]:
    """The image that training makes of a file, `(height, width, 3)`."""
    return decode(encoded, form, "picture").transpose(1, 2, 0).astype(np.int64)


def in_app(pixels: NDArray[np.uint8], form: ImageForm) -> NDArray[np.int64]:
    """The image that an app makes of pixels, for a model of the base size."""
    steps = preprocessing((form.height, form.width), None, form.fitting).model_dump(mode="json")
    size = {"input": {"height": form.height, "width": form.width}}
    return np.asarray(input_form({"preprocessing": steps}, size).prepare(pixels)[0], dtype=np.int64)


def seconds(form: ImageForm, files: Sequence[bytes]) -> float:
    """What decoding all files takes of the processor."""
    started = time.process_time()
    for encoded in files:
        decode(encoded, form, "picture")
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
