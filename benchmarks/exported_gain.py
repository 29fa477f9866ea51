"""What precision as a choice of the search gains, for `exported_files.py`. Not a benchmark itself."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from common import log

from device_profiles.budgets import Budgets
from device_profiles.cost_models.device_costs import DeviceCosts
from device_profiles.engine import Precision
from device_profiles.profile import find_profile
from exports.family.manifest import read_manifest
from exports.family.records import PPM, Manifest
from model_factory.build import build
from model_factory.config import TargetConfig
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.materials import Materials

CHOICES: dict[str, tuple[Precision, ...]] = {"fp32": ("fp32",), "mixed": ("int8", "fp16", "fp32")}
"""The precisions of the two searches."""


def measure_gain(run: Run, profile: Path, folder: Path, tiers: int) -> dict[str, Any]:
    """Search the finished run twice with the same latency budgets, and compare the accuracies of the files.

    Args:
        run: A finished build.
        profile: A profile of this machine, measured in fp32 and int8 for the space of the run.
        folder: A new folder for the two builds; that of the run is not changed.
        tiers: The number of budgets: the latencies of so many models of the build, the largest ones, in fp32.

    Raises:
        FactoryError: The profile has no table for a precision, or a build failed.
    """
    budgets = latency_budgets(run, profile, tiers)
    families = {name: family_of(run, profile, folder / name, budgets, choice) for name, choice in CHOICES.items()}
    accuracies = {name: accuracies_of(family, len(budgets)) for name, family in families.items()}
    return {
        "gain_points": round(100 * (mean(accuracies["mixed"]) - mean(accuracies["fp32"])), 3),
        "latency_budgets_us": budgets,
        "accuracy_fp32_alone": accuracies["fp32"],
        "accuracy_with_choice": accuracies["mixed"],
        "chosen": [chosen(families["mixed"], number) for number in range(len(budgets))],
    }


def latency_budgets(run: Run, profile: Path, tiers: int) -> list[int]:
    """The latencies of the models of the family on this machine in fp32, in whole microseconds, the largest first."""
    materials = Materials(run, Console())
    space = materials.model_space.space
    models = sorted(read_manifest(run.family_folder).models.values(), key=lambda model: -model.subnet.macs)[:tiers]
    costs = DeviceCosts(materials.workloads, find_profile(str(profile), profile.parent), "fp32")
    found = costs.of([space.subnet(model.subnet.values) for model in models])
    return sorted({round(cost.latency_us) for cost in found}, reverse=True)


def family_of(run: Run, profile: Path, folder: Path, budgets: list[int], choice: tuple[Precision, ...]) -> Manifest:
    """Build the family of a copy of the run with one target for each budget, and return its manifest."""
    log(f"search with {', '.join(choice)}")
    copied = folder / "runs" / run.config.name
    shutil.copytree(run.folder, copied)
    profiles = folder / "profiles"
    profiles.mkdir()
    for table in profile.parent.glob(f"{profile.stem}.*json"):
        shutil.copy(table, profiles / table.name)
    text = profile.read_text(encoding="utf-8")
    targets = []
    for number, budget in enumerate(budgets):
        path = profiles / f"{device_name(number)}.yaml"
        path.write_text(re.sub(r"(?m)^name: .*$", f"name: {path.stem}", text), encoding="utf-8")
        limits = Budgets.model_validate({"latency": f"{budget} us"})
        targets.append(TargetConfig(device=str(path), budgets=limits, precisions=choice))
    config = run.config.model_copy(update={"targets": tuple(targets), "finetune": None})
    changed = replace(run, config=config, base=folder, folder=copied, family_folder=folder / "dist" / run.config.name)
    build(changed, Console(), may_train=False)
    return read_manifest(changed.family_folder)


def device_name(number: int) -> str:
    """The name of the target with this budget."""
    return f"host_{number}"


def accuracies_of(manifest: Manifest, budgets: int) -> list[float]:
    """The test accuracy of the file for each budget, in [0, 1]."""
    return [manifest.models[model_of(manifest, number)].quality.value_ppm / PPM for number in range(budgets)]


def model_of(manifest: Manifest, number: int) -> str:
    """The id of the model for a budget."""
    return next(tier for tier in manifest.tiers if tier.id == device_name(number)).models[0]


def chosen(manifest: Manifest, number: int) -> str:
    """The precision that the search chose for a budget."""
    return str(manifest.models[model_of(manifest, number)].precision)
