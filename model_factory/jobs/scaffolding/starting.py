"""`factory init --data`: look at the data, decide on a config, and write it with a small one for a trial beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from factory_base.documents import parse_document
from factory_base.files import write_text
from factory_base.foreign import printable
from factory_base.wording import counted
from model_factory.config import CONFIG_NAME, FactoryConfig
from model_factory.jobs.scaffolding.budgeting import DEVICES, TargetBudgets, budgets_for
from model_factory.jobs.scaffolding.choosing import Chosen, choose, unusual
from model_factory.jobs.scaffolding.found import Found, ImageSample
from model_factory.jobs.scaffolding.looking import look
from model_factory.jobs.scaffolding.smoke import smoke
from model_factory.jobs.scaffolding.template import check_free, family_name, write_beside
from model_factory.jobs.scaffolding.writing import Noted, Tree, plain, rendered
from model_factory.jobs.schema import SCHEMA_LINE, SCHEMA_NAME
from supernet.spaces import make_model_space

SMOKE_NAME = "factory.smoke.yaml"
"""The file beside the config with the same loop in about two minutes."""


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
    """

    config: Path
    smoke: Path
    family: str
    lines: tuple[str, ...]


def start(folder: Path, data: Path) -> Started:
    """Write a config for the data at `data` to `folder`, with a smoke config, the schema and the profiles beside it.

    Raises:
        ConfigError: The data cannot be read, `folder` is a file, or a file in it exists already.
        DataError: The data are damaged, or cannot be learnt from.
        DiskError: A file cannot be written.
    """
    check_free(folder, (CONFIG_NAME, SMOKE_NAME, SCHEMA_NAME))
    found = look(data)
    chosen = choose(found, folder)
    family = family_name(folder)
    targets = _targets(found, chosen)
    tree = _tree(family, chosen, targets)
    small = smoke(tree, found)
    for whole, name in ((tree, CONFIG_NAME), (small, SMOKE_NAME)):
        parse_document(plain(whole), FactoryConfig, name)
    write_text(folder / CONFIG_NAME, rendered(tree, _head(found)))
    write_text(folder / SMOKE_NAME, rendered(small, _smoke_head(family)))
    write_beside(folder)
    lines = (*_seen(found), *chosen.lines, *(f"note: {note}" for note in found.notes), _budget_line(targets))
    return Started(config=folder / CONFIG_NAME, smoke=folder / SMOKE_NAME, family=family, lines=lines)


def _targets(found: Found, chosen: Chosen) -> list[TargetBudgets]:
    data, model = plain(chosen.data), plain(chosen.model)
    targets = [{"device": device} for device in DEVICES]
    whole = {"name": "x", "data": data, "model": model, "training": plain(chosen.training), "targets": targets}
    section = parse_document(whole, FactoryConfig, CONFIG_NAME).model
    return budgets_for(make_model_space(section, len(found.counts)), pixels=True)


def _tree(family: str, chosen: Chosen, targets: list[TargetBudgets]) -> Tree:
    return {
        "name": Noted(family, "runs/<name> and dist/<name> are called after it"),
        "release": Noted(1, "count it up with every release that you publish"),
        "seed": 0,
        "threads": Noted(2, "CPU threads of training; another number rounds differently and gives another family"),
        "data": chosen.data,
        "model": chosen.model,
        "training": chosen.training,
        "search": Noted(chosen.search, "more of each finds better subnets and takes longer"),
        "targets": Noted(
            [Noted({"device": t.device, "budgets": t.budgets}, t.describe()) for t in targets],
            "the devices, each with what the model may take there; `factory profile --list` shows all profiles",
        ),
    }


def _head(found: Found) -> list[str]:
    return [
        SCHEMA_LINE.removeprefix("# "),
        f"A family of models for {printable(str(found.path))}, written by `factory init` after a look at the data.",
        *unusual(found),
        *(f"{note[0].upper()}{note[1:]}." for note in found.notes),
        "Every key is explained in docs/config.md, and by editors that read the first line.",
    ]


def _smoke_head(family: str) -> list[str]:
    return [
        SCHEMA_LINE.removeprefix("# "),
        f"The whole loop of {family} in about two minutes on two CPU cores: is the data readable, does everything run?",
        f"Its accuracies say nothing. `factory build --config {SMOKE_NAME}`",
    ]


def _seen(found: Found) -> list[str]:
    test = "no test images of their own" if found.test is None else f"{found.test:,} test images"
    counts = [count for count in found.counts.values() if count is not None]
    few, many = min(counts, default=0), max(counts, default=0)
    spread = f", {few:,} to {many:,} images each" if few < many else f", {many:,} images each" if many else ""
    lines = [
        f"data: {found.source}, {found.train:,} training images, {test}",
        f"task: {found.task}, {counted(len(found.counts), *_NOUNS[found.task])}{spread}",
    ]
    if isinstance(found.sample, ImageSample):
        s = found.sample
        colour = "grey" if s.grey > 0.9 else "colour" if s.grey < 0.1 else f"{s.grey:.0%} of them grey"
        lines.append(f"images: {s.width} x {s.height} pixels ({s.describe()}), {colour}")
    return lines


def _budget_line(targets: list[TargetBudgets]) -> str:
    fewest = min(targets, key=lambda target: target.fitting)
    return (
        f"targets: {', '.join(DEVICES)}; of {fewest.sampled} sampled subnets {fewest.fitting} fit the tightest budgets "
        f"({fewest.device})"
    )
