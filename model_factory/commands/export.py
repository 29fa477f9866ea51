"""`factory export`: the part of the loop that follows training."""

from __future__ import annotations

from model_factory.commands.build import print_family
from model_factory.commands.options import ConfigOption, QuietOption, RunOption, chosen_run


def export(run: RunOption = None, config: ConfigOption = None, quiet: QuietOption = False) -> None:
    """Write the family from a supernet that is already trained.

    All targets are searched. With a `finetune` section in the config, the picks are trained a little further before
    they are exported.
    """
    from model_factory import build as pipeline
    from model_factory.console import Console

    chosen = chosen_run(run, config)
    print_family(pipeline.build(chosen, Console(quiet), may_train=False), chosen)
