"""`factory report`: the page about the family."""

from __future__ import annotations

from factory_base.terminal import print_line
from model_factory.commands.options import ConfigOption, QuietOption, RunOption, chosen_run


def report(run: RunOption = None, config: ConfigOption = None, quiet: QuietOption = False) -> None:
    """Write the family's report.html and print its path."""
    from model_factory import build as pipeline
    from model_factory.console import Console

    chosen = chosen_run(run, config)
    pipeline.build(chosen, Console(quiet), may_train=False)
    print_line(chosen.report)
