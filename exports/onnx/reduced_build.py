"""The configuration of an ONNX Runtime build that has only the kernels and types that some files need.

The format is that of ONNX Runtime's `--include_ops_by_config` with type reduction, see
`onnxruntime.tools.reduced_build_config_parser`, and it is written by ONNX Runtime's own tools.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from exports.onnx.onnx_file import first_line, quiet
from exports.onnx.onnxruntime_library import onnxruntime_library
from factory_base.errors import EngineError

_NCHWC: Final = "NchwcTransformer"
"""The optimisation that rearranges activations in blocks of channels, for x86 processors alone."""


def reduced_build_config(files: Sequence[Path]) -> str:
    """The required operators and types of all `files`, one line for each domain and version.

    The union covers every graph that such a build sees: those of the files as they are, which it needs to open them and
    to fold constants, and those that ONNX Runtime's optimisations of the levels basic, extended and all make from them
    on this kind of processor, with and without the layout of x86 processors. They hold fused operators, which no file
    names. Other kinds of processors and other versions of ONNX Runtime may fuse differently.

    Args:
        files: ONNX files.

    Raises:
        EngineError: `files` is empty, ONNX Runtime refuses a file, or it is installed without its tools.
    """
    if not files:
        raise EngineError("a reduced build needs the files of at least one model")
    library = onnxruntime_library()
    try:
        from onnxruntime.tools.ort_format_model import create_config_from_models
    except ImportError as error:
        raise EngineError(
            f"the tools of ONNX Runtime are incomplete ({error}); run: pip install onnxruntime flatbuffers"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        graphs = [graph for number, file in enumerate(files) for graph in _graphs(library, file, Path(folder), number)]
        result = Path(folder) / "operators.config"
        with quiet():  # the tool reports the names of temporary files, and leaves their closing to Python
            create_config_from_models(graphs, result, True)
        lines = [line for line in result.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    header = (
        "# Required operators and types for a reduced build: build.sh --include_ops_by_config THIS_FILE "
        "--enable_reduced_operator_type_support",
        f"# Made with ONNX Runtime {library.__version__} on {platform.machine()} from {len(files)} model files.",
        "# It covers these files as they are, and as the optimisations of the levels basic, extended and all change",
        "# them at load, with and without the layout of x86 processors (com.microsoft.nchwc).",
    )
    return "\n".join([*header, *lines]) + "\n"


def _graphs(library: Any, file: Path, folder: Path, number: int) -> list[Path]:
    """Write the graph of `file` at each level of optimisation in ONNX Runtime's own format."""
    levels = library.GraphOptimizationLevel
    cases: tuple[tuple[Any, list[str]], ...] = (
        (levels.ORT_DISABLE_ALL, []),
        (levels.ORT_ENABLE_BASIC, []),
        (levels.ORT_ENABLE_EXTENDED, []),
        (levels.ORT_ENABLE_ALL, [_NCHWC]),
        (levels.ORT_ENABLE_ALL, []),
    )
    paths = []
    for case, (level, disabled) in enumerate(cases):
        options = library.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(folder / f"{number}-{case}.ort")
        options.log_severity_level = 4  # fatal: errors are raised, and nothing is printed
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            library.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
            )
        except Exception as error:  # its error types are private to its extension module
            raise EngineError(f"{file.name}: ONNX Runtime refuses the file ({first_line(error)})") from error
        paths.append(Path(options.optimized_model_filepath))
    return paths
