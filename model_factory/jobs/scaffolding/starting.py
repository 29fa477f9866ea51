"""`factory init --data`: look at the data, decide on a config, and write it with a small one for a trial beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory_base.documents import parse_document
from factory_base.files import write_text
from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.config import CONFIG_NAME, FactoryConfig
from model_factory.jobs.scaffolding.budgeting import DEVICES, SMOKE_DEVICES, TargetBudgets, budgets_for
from model_factory.jobs.scaffolding.choosing import choose, unusual
from model_factory.jobs.scaffolding.chosen import Chosen
from model_factory.jobs.scaffolding.found import Found, ImageSample, TextSample
from model_factory.jobs.scaffolding.looking import look
from model_factory.jobs.scaffolding.smoke import smoke
from model_factory.jobs.scaffolding.template import check_free, family_name, write_beside
from model_factory.jobs.scaffolding.writing import Noted, Tree, plain, rendered
from model_factory.jobs.schema import SCHEMA_LINE, SCHEMA_NAME
from supernet.spaces import make_model_space

SMOKE_NAME = "factory.smoke.yaml"
"""The file beside the config with the same loop in about two minutes."""


_TARGETS_NOTE = "the devices, each with what the model may take there; `factory profile --list` shows all profiles"
_METRIC_NOTE = "what the search maximises; balanced_accuracy counts every class alike"
_NOUNS = {
    "classification": ("class", "classes"),
    "text_classification": ("class", "classes"),
    "multilabel": ("label", "labels"),
    "regression": ("value", "values"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What `factory init --data` found, decided and wrote.

    Attributes:
        config: The config.
        smoke: The config for a trial.
        family: The name of the family.
        lines: What was seen and decided, one line each.
        todo: What the user has to do before the first build, a line each.
    """

    config: Path
    smoke: Path
    family: str
    lines: tuple[str, ...]
    todo: tuple[str, ...]


def start(folder: Path, data: Path, labels: Sequence[str] = ()) -> Started:
    """Write a config for the data at `data` to `folder`, with a smoke config, the schema and the profiles beside it.

    Args:
        folder: The folder to write to.
        data: The data.
        labels: The columns of labels, if the data are a table and the user named them.

    Raises:
        ConfigError: The data cannot be read, `folder` is a file, or a file in it exists already.
        DataError: The data are damaged, or cannot be learnt from.
        DiskError: A file cannot be written.
    """
    check_free(folder, (CONFIG_NAME, SMOKE_NAME, SCHEMA_NAME))
    found = look(data, labels)
    chosen = choose(found, folder)
    family = family_name(folder)
    tree = _tree(family, found, chosen)
    small = smoke(tree, found, folder)
    targets = _targets(found, tree, folder, DEVICES)
    tree["targets"] = Noted(_entries(targets), _TARGETS_NOTE)
    small["targets"] = plain(_entries(_targets(found, small, folder, SMOKE_DEVICES)))
    for whole, name in ((tree, CONFIG_NAME), (small, SMOKE_NAME)):
        parse_document(plain(whole), FactoryConfig, name)
    write_text(folder / CONFIG_NAME, rendered(tree, _head(found)))
    write_text(folder / SMOKE_NAME, rendered(small, _smoke_head(family)))
    write_beside(folder)
    lines = (*_seen(found), *chosen.lines, *(f"note: {note}" for note in found.notes), _budget_line(targets))
    return Started(config=folder / CONFIG_NAME, smoke=folder / SMOKE_NAME, family=family, lines=lines, todo=chosen.todo)


def _targets(found: Found, tree: Tree, folder: Path, devices: Sequence[str]) -> list[TargetBudgets]:
    """Budgets for `devices` that suit the model space of a config in `folder` that lacks its targets."""
    whole = plain(tree) | {"targets": [{"device": device} for device in devices]}
    config = parse_document(whole, FactoryConfig, CONFIG_NAME)
    takes_pixels = isinstance(found.sample, ImageSample)
    space = make_model_space(config.model, len(found.counts), folder, config.data.form)
    return budgets_for(space, devices, pixels=takes_pixels)


def _entries(targets: Sequence[TargetBudgets]) -> list[Noted]:
    return [Noted({"device": target.device, "budgets": target.budgets}, target.describe()) for target in targets]


def _tree(family: str, found: Found, chosen: Chosen) -> Tree:
    """The config but its targets."""
    return {
        "name": Noted(family, "runs/<name> and dist/<name> are called after it"),
        "release": Noted(1, "count it up with every release that you publish"),
        "seed": 0,
        "threads": Noted(2, "CPU threads of training; another number rounds differently and gives another family"),
        "task": Noted(found.task, "what the models learn"),
        **({"metric": Noted("accuracy", _METRIC_NOTE)} if found.is_uneven else {}),
        "data": chosen.data,
        "model": chosen.model,
        "training": chosen.training,
        "search": Noted(chosen.search, "more of each finds better subnets and takes longer"),
    }


def _head(found: Found) -> list[str]:
    return [
        SCHEMA_LINE.removeprefix("# "),
        f"A family of models for {printable(str(found.path))}, written by `factory init` after a look at the data.",
        *unusual(found),
        *(f"{note[0].upper()}{note[1:]}." for note in found.notes),
        "`factory schema --reference` explains every key, and all tasks, sources and model spaces; editors that read",
        "the first line of this file show the same.",
    ]


def _smoke_head(family: str) -> list[str]:
    return [
        SCHEMA_LINE.removeprefix("# "),
        f"The whole loop of {family} in about two minutes on two CPU cores: is the data readable, does everything run?",
        f"Its accuracies say nothing. `factory build --config {SMOKE_NAME}`",
    ]


def _seen(found: Found) -> list[str]:
    noun = "images" if isinstance(found.sample, ImageSample) else "texts"
    test = f"no test {noun} of their own" if found.test is None else f"{found.test:,} test {noun}"
    counts = [count for count in found.counts.values() if count is not None]
    few, many = min(counts, default=0), max(counts, default=0)
    spread = f", {few:,} to {many:,} {noun} each" if few < many else f", {many:,} {noun} each" if many else ""
    lines = [
        *found.taken,
        f"data: {found.source}, {found.train:,} training {noun}, {test}",
        f"task: {found.task}, {counted(len(found.counts), *_NOUNS[found.task])}{spread}",
    ]
    s = found.sample
    if isinstance(s, TextSample):
        lines.append(f"texts: {s.words} words (the median of {s.count:,} sampled), 95 % at most {s.long}")
    else:
        colour = "grey" if s.grey > 0.9 else "colour" if s.grey < 0.1 else f"{s.grey:.0%} of them grey"
        lines.append(f"images: {s.width} x {s.height} pixels ({s.describe()}), {colour}")
    return lines


def _budget_line(targets: list[TargetBudgets]) -> str:
    fewest = min(targets, key=lambda target: target.fitting)
    return (
        f"targets: {', '.join(DEVICES)}; of {fewest.sampled} sampled subnets {fewest.fitting} fit the tightest budgets "
        f"({fewest.device})"
    )
