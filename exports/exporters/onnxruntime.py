"""The exporter for ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from device_profiles.engine import InputType, ModelInput, Precision
from device_profiles.measuring.host_facts import processor
from exports.client.python.values import version_key
from exports.engines.arguments import check_precision
from exports.engines.onnxruntime import OnnxRuntimeEngine
from exports.exporter import ConvertOptions
from exports.family.parity import check_logits, module_logits
from exports.family.proof import HostRun, Proof
from exports.isolation.process import IsolatedProcess, IsolatedSession
from exports.onnx.conversion import Conversion
from exports.onnx.onnx_file import export_onnx
from factory_base.errors import EngineError
from factory_base.machine_memory import usable_memory
from factory_base.progress import Progress, silent
from supernet.tasks import task_values

if TYPE_CHECKING:
    from torch import nn

    from supernet.tasks.task import Task

_CONVERT_SECONDS = 3600.0
"""What a conversion may take: ranges, equalisation and the sensitivity of every layer are measured on some thousand
images, which takes minutes for a network of 300 million MACs."""
_PROVE_SECONDS = 600.0
"""What each step of a proof may take: loading, a second or fifty runs, or the comparison with PyTorch."""


class OnnxRuntimeExporter:
    """Implements `exports.exporter.Exporter` with ONNX Runtime's CPU provider.

    Args:
        opset: The opset of the files.
        dynamic_batch: Whether the files accept a batch of any size; otherwise they accept one input, as on a phone.
    """

    name: ClassVar[str] = OnnxRuntimeEngine.name
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[Precision, ...]] = OnnxRuntimeEngine.precisions

    def __init__(self, opset: int = 20, dynamic_batch: bool = False) -> None:
        self._opset = opset
        self._dynamic_batch = dynamic_batch

    def convert(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        path: Path,
        options: ConvertOptions,
        progress: Progress = silent,
    ) -> Conversion:
        """See the protocol; the guarantees about the file are those of `export_onnx`.

        Raises:
            EngineError, DiskError: See the protocol.
        """
        self._check(options)
        if options.precision == "fp32":
            self._export(module, input_shape, path, options.input_type)
            return Conversion(precision="fp32")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "float.onnx"
            self._export(module, input_shape, source, options.input_type)
            return self._converted(source, path, options, progress)

    def prove(
        self, module: nn.Module, path: Path, precision: Precision, images: ModelInput, threads: int,
        progress: Progress = silent, *, task: Task | None = None,
    ) -> Proof:  # fmt: skip
        """See the protocol. Raises `EngineError`, `ParityError`."""
        with IsolatedProcess() as process:
            name, place = path.name, {"engine": self.name, "path": str(path.absolute()), "threads": threads}
            facts = process.call("describe", place, subject=name, seconds=_PROVE_SECONDS).values
            if precision not in facts["precisions"]:
                raise EngineError(f"{name}: holds a network in {facts['precisions'][0]}, expected {precision}")
            timed = process.call("measure", place, (images[:1],), subject=name, seconds=_PROVE_SECONDS).values
            progress(0, len(images), "compare with PyTorch")
            reference = module_logits(module, images)
            classes = reference.shape[1]
            session = IsolatedSession(process, self.name, path, threads, classes=classes, seconds=_PROVE_SECONDS)
            parity = check_logits(reference, session, images, precision, task=task)
        return Proof(
            precision=precision, parity=parity, classes=classes, host=self._host(timed, threads),
            opset=facts["opset"], operators=tuple(facts["operators"]), versions_tried=self.versions_tried(),
        )  # fmt: skip

    def limits(self) -> tuple[str, ...]:
        """What readers of its proofs must know."""
        return (
            "files are proven on the CPU of this machine; another processor has other kernels, which the shipped "
            "samples check there",
            "fp16 and int8_weights are forms of storage: the engine decodes the weights when it loads the file, and "
            "computes in float32",
        )

    def versions_tried(self) -> tuple[str, ...]:
        """The installed version. Raises `EngineError` if it is not installed."""
        return (OnnxRuntimeEngine().version(),)

    def _export(self, module: nn.Module, shape: tuple[int, ...], path: Path, input_type: InputType) -> None:
        export_onnx(module, shape, path, opset=self._opset, dynamic_batch=self._dynamic_batch, input_type=input_type)

    def _check(self, options: ConvertOptions) -> None:
        """Raises `EngineError` if they cannot be carried out here, before anything is written."""
        check_precision(self.name, self.precisions, options.precision, options.calibration)
        oldest, installed = OnnxRuntimeEngine.oldest_version(self._opset), OnnxRuntimeEngine().version()
        if version_key(installed) < version_key(oldest):
            raise EngineError(
                f"files of opset {self._opset} need onnxruntime {oldest} or newer, and {installed} is installed; "
                "upgrade it, or lower `export.opset`"
            )

    def _converted(self, source: Path, path: Path, options: ConvertOptions, progress: Progress) -> Conversion:
        given: dict[str, NDArray[Any]] = {} if options.calibration is None else {"calibration": options.calibration}
        if options.check is not None:
            given |= {"inputs": options.check.inputs, "labels": options.check.labels}
        learnt = {"task": task_values(options.check.task), "metric": options.check.metric} if options.check else {}
        arguments = {
            "source": str(source.absolute()), "path": str(path.absolute()), "precision": options.precision,
            "drop_limit": options.drop_limit, "given": list(given), **learnt,
        }  # fmt: skip
        with IsolatedProcess(usable_memory()) as process:
            answer = process.call(
                "convert", arguments, list(given.values()), subject=f"converting to {options.precision}",
                seconds=_CONVERT_SECONDS, progress=progress,
            )  # fmt: skip
        return TypeAdapter(Conversion).validate_python(answer.values["conversion"], strict=False)

    def _host(self, timed: Any, threads: int) -> HostRun:
        times = np.array(timed["run_us"], np.float64)
        return HostRun(
            machine=processor(), threads=threads, engine_version=OnnxRuntimeEngine().version(),
            latency_p50_us=float(np.median(times)), latency_p95_us=float(np.percentile(times, 95)), runs=len(times),
            load_us=float(timed["load_us"]), peak_memory_bytes=timed["peak_memory_bytes"],
        )  # fmt: skip
