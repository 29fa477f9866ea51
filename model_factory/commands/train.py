"""`factory train`: train the supernet, in one process or in many."""

from __future__ import annotations

from factory_base.terminal import print_line
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
    on_mismatch,
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
    """Train the supernet, or resume an interrupted training run."""
    from factory_base.errors import ConfigError
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.stages.plan import fitting_notes

    chosen, mismatch, limited = chosen_run(run, config), on_mismatch(retrain, adopt), limits(max_hours, max_memory_gib)
    if adopt and limited.is_given:
        raise ConfigError("--adopt trains nothing, so it cannot be limited; leave --max-hours and --max-memory-gib out")
    trained = pipeline.train(chosen, Console(quiet), limited, mismatch)
    if trained is None:  # a process of torchrun other than the first
        return
    last = trained.curve[-1]
    small = "" if last.smallest_accuracy is None else f", smallest subnet {last.smallest_accuracy:.2%}"
    print_line(f"{chosen.checkpoint}: held-out accuracy of the largest subnet {last.largest_accuracy:.2%}{small}")
    for note in fitting_notes(chosen):
        print_line(f"note: {note}")
