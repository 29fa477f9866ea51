"""`factory train`: only the training, also on many processes."""

from __future__ import annotations

import typer

from model_factory.commands.options import (
    AdoptOption,
    ConfigOption,
    MaxHoursOption,
    MaxMemoryOption,
    QuietOption,
    RetrainOption,
    RunOption,
    chosen_run,
    limits,
    other_training,
)


def train(
    run: RunOption = None,
    config: ConfigOption = None,
    max_hours: MaxHoursOption = None,
    max_memory_gib: MaxMemoryOption = None,
    retrain: RetrainOption = False,
    adopt: AdoptOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the supernet, or go on where an interrupted training run stopped."""
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.stages.plan import fitting_notes

    where, other = chosen_run(run, config), other_training(retrain, adopt)
    trained = pipeline.train(where, Console(quiet), limits(max_hours, max_memory_gib), other)
    if trained is None:  # an assisting process of torchrun
        return
    last = trained.curve[-1]
    small = "" if last.smallest_accuracy is None else f", smallest subnet {last.smallest_accuracy:.2%}"
    typer.echo(f"{where.checkpoint}: held-out accuracy of the largest subnet {last.largest_accuracy:.2%}{small}")
    for note in fitting_notes(where):
        typer.echo(f"note: {note}")
