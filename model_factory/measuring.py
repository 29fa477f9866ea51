"""`factory profile`: hand the engine to whoever measures, and write the profile down."""

from __future__ import annotations

from pathlib import Path

from device_profiles.measure import measure_host, write_profile
from exports.engines import get_engine
from model_factory.base.files import exclusive
from model_factory.console import Console
from model_factory.materials import Materials
from model_factory.run import Run


def measure(run: Run, console: Console, *, threads: int, subnets: int, output: Path | None) -> Path:
    """Measure this machine for the model space of `run`; the profile goes to `output` or `profiles/host.yaml`.

    Raises:
        EngineError: the engine is missing, or the machine was too noisy for a figure.
        DiskError: the profile cannot be written.
    """
    path = output or run.base / "profiles" / "host.yaml"
    with exclusive(run.folder, "profile"):
        model_space = Materials(run, console).model_space
        engine = get_engine("onnxruntime", opset=run.config.export.opset)
        with console.stage("measure this machine") as progress:
            profile = measure_host(
                model_space,
                engine,
                threads=threads,
                subnets=subnets,
                seed=run.config.seed,
                folder=run.folder / "measurements",
                progress=progress,
            )
    write_profile(profile, path)
    return path
