"""`factory plan`: which few models a whole fleet of devices should get."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from factory_base.terminal import print_json, print_line
from model_factory.commands.options import ConfigOption, JsonOption, QuietOption, RunOption, chosen_run
from model_factory.commands.tables import latency_text, print_table

if TYPE_CHECKING:
    from device_profiles.app_fleet import AppFleet
    from search.fleet.found import CurvePoint, FleetFound, FleetModel, ServedClass
    from search.fleet.wishes import Wishes

_SHOWN = 30
"""Classes that the table shows, those with the most installs; `--json` has all."""


def plan(
    fleet: Annotated[
        str,
        typer.Argument(
            metavar="FLEET",
            help="A CSV file with a class of devices in each row (columns name, share or installs, profile, and "
            "optionally latency_scale and budgets), or a shipped fleet such as example.",
        ),
    ],
    models: Annotated[
        int | None,
        typer.Option(metavar="K", min=1, help="The most models; by default as many as pay.", show_default=False),
    ] = None,
    floor: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="The least metric of any class, such as '60 %'.", show_default=False),
    ] = None,
    download: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The most bytes of all models together, such as 5MB.", show_default=False),
    ] = None,
    pays: Annotated[
        float,
        typer.Option(metavar="POINTS", help="The points of the fleet's mean that another model has to gain to pay."),
    ] = 0.1,
    run: RunOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose the few models that serve a whole fleet best. Prints them, what each class gets, and the tiers."""
    from device_profiles.app_fleet import find_fleet
    from model_factory import build as pipeline
    from model_factory.console import Console
    from model_factory.jobs.fleet_tiers import write_tiers
    from model_factory.report.fleet_plot import plot_curve
    from search.metric_words import metric_words

    wishes, given = _wishes(models, floor, download, pays), find_fleet(fleet)
    chosen = chosen_run(run, config)
    found = pipeline.plan_fleet(chosen, Console(quiet), given, wishes)
    metric = metric_words(chosen.config.steering).name
    tiers, plot = chosen.fleet_tiers(given.name), chosen.fleet_plot(given.name)
    write_tiers(tiers, given, found)
    plot_curve(given.name, found, metric, plot)
    if as_json:
        print_json(plan_json(given, found) | {"tiers": str(tiers), "plot": str(plot)})
        return
    print_plan(given, found, wishes, metric)
    print_line(f"tiers for the config: {tiers}")
    print_line(f"plot: {plot}")


def _wishes(models: int | None, floor: str | None, download: str | None, pays: float) -> Wishes:
    """Raises `ConfigError` if an option is wrong."""
    from factory_base.errors import ConfigError
    from factory_base.quantities import parse_bytes, parse_share
    from search.fleet.wishes import Wishes

    if not 0 <= pays <= 100:
        raise ConfigError(f"--pays {pays:g}: is not a number of points from 0 to 100")
    try:
        least = None if floor is None else parse_share(float(floor) if "%" not in floor else floor)
    except ValueError as error:
        raise ConfigError(f"--floor {floor}: {error}") from error
    try:
        most = None if download is None else parse_bytes(download)
    except ValueError as error:
        raise ConfigError(f"--download {download}: {error}") from error
    return Wishes(models=models, floor=least, download=most, charge=pays / 100)


def print_plan(fleet: AppFleet, found: FleetFound, wishes: Wishes, metric: str) -> None:
    """Print the models, what each class gets, and what more or fewer models would be worth."""
    from factory_base.wording import counted

    classes = counted(len(found.classes), "class", "classes")
    print_line(f"fleet {fleet.name} ({fleet.origin}): {classes} of devices; {found.candidates:,} candidates")
    for note in fleet.notes:
        print_line(f"note: {note}")
    _print_models(found, metric)
    print_line()
    _print_classes(found, metric)
    print_line()
    _print_curve(found, metric)
    for line in plan_lines(found, wishes, metric):
        print_line(line)


def _print_models(found: FleetFound, metric: str) -> None:
    from factory_base.quantities import format_bytes

    columns = ("model", "subnet", "precision", "file", f"held-out {metric}", "installs", "classes")
    rows = [
        (
            _letter(number),
            model.variant.subnet.id,
            model.variant.precision,
            format_bytes(model.file_bytes),
            f"{model.scored.accuracy:.2%}",
            f"{model.share:.1%}",
            f"{model.classes:,}",
        )
        for number, model in enumerate(found.models)
    ]
    print_table(columns, rows)


def _print_classes(found: FleetFound, metric: str) -> None:
    columns = ("class", "installs", "profile", "model", f"held-out {metric}", "latency", "budgets", "points lost")
    by_share = sorted(found.classes, key=lambda one: -one.share)
    shown = found.classes if len(found.classes) <= _SHOWN else by_share[:_SHOWN]
    rows = [
        (
            one.name,
            f"{one.share:.2%}",
            one.profile if one.latency_scale == 1 else f"{one.profile} x {one.latency_scale:g}",
            _letter(one.model),
            f"{found.models[one.model].scored.accuracy:.2%}",
            latency_text(one.costs),
            _tightest(one),
            f"{100 * one.lost:.2f}",
        )
        for one in shown
    ]
    print_table(columns, rows)
    if len(found.classes) > len(shown):
        print_line(f"and {len(found.classes) - len(shown):,} more classes with fewer installs; --json has all")


def _print_curve(found: FleetFound, metric: str) -> None:
    columns = ("models", f"mean {metric}", "gain in points", "at most", "")
    print_table(columns, [_curve_row(point, found) for point in found.curve])


def _curve_row(point: CurvePoint, found: FleetFound) -> tuple[str, ...]:
    gain = "" if point.gain is None else f"{100 * point.gain:+.2f} ±{100 * (point.gain_error or 0):.2f}"
    marks = [
        *(["this plan"] if point == found.point else []),
        *(["the last model that pays"] if point.most == found.suggested else []),
    ]
    bound = "proven" if point.status == "optimal" else f"{point.bound:.2%}"
    return f"{point.most}", f"{point.value:.2%}", gain, bound, ", ".join(marks)


def plan_lines(found: FleetFound, wishes: Wishes, metric: str) -> list[str]:
    """Sentences on the plan: what it is worth, how many models pay, and what its figures mean."""
    from factory_base.quantities import format_bytes
    from factory_base.wording import counted

    models = len(found.models)
    together = format_bytes(sum(model.file_bytes for model in found.models))
    lines = [
        f"value: a mean {metric} of {found.value:.2%} ±{found.error:.2%} over installs, with "
        f"{counted(models, 'model')} of {together} together; if every class got its own best candidate: "
        f"{found.ceiling:.2%}",
        f"models that pay: {found.suggested}; it is the number with the highest value after {100 * found.charge:g} "
        "points are subtracted for each model (--pays)",
    ]
    if wishes.models is not None and models < wishes.models:
        reason = (
            "with these every class has the best candidate that it can run"
            if found.ceiling - found.value <= 1e-9
            else "no further one gains anything"
        )
        lines.append(f"note: {wishes.models} models were allowed, but the plan has {models}: {reason}")
    if any(tier.others for tier in found.tiers):
        worth = found.tier_value
        lines.append(
            "note: some classes have the same profile, but get different models; a manifest tells devices apart by "
            + ("profile, so as tiers " if worth is None else f"profile, so as tiers the mean is {worth:.2%}, unless ")
            + ("they need profiles" if worth is None else "they get profiles")
            + " of their own"
        )
    lines.append(
        f"figures: costs are predicted; scores are those of the weights on {found.images:,} held-out images, rounded "
        "to the precision of the file. A build with these tiers makes the files and measures them"
    )
    return lines


def plan_json(fleet: AppFleet, found: FleetFound) -> dict[str, Any]:
    """What `print_plan` shows, as a value for JSON."""
    return {
        "fleet": fleet.name,
        "origin": fleet.origin,
        "notes": list(fleet.notes),
        "value": found.value,
        "standard_error": found.error,
        "bound": found.point.bound,
        "status": found.point.status,
        "ceiling": found.ceiling,
        "tier_value": found.tier_value,
        "candidates": found.candidates,
        "heldout_images": found.images,
        "models": [_model_json(number, model) for number, model in enumerate(found.models)],
        "classes": [_class_json(one) for one in found.classes],
        "curve": [_point_json(point) for point in found.curve],
        "models_that_pay": found.suggested,
        "charge": found.charge,
    }


def _model_json(number: int, model: FleetModel) -> dict[str, Any]:
    return {
        "model": _letter(number),
        "subnet_id": model.variant.subnet.id,
        "subnet": model.variant.subnet.to_dict(),
        "precision": model.variant.precision,
        "file_bytes": model.file_bytes,
        "heldout_accuracy": model.scored.accuracy,
        "share": model.share,
        "classes": model.classes,
    }


def _class_json(one: ServedClass) -> dict[str, Any]:
    return {
        "name": one.name,
        "share": one.share,
        "profile": one.profile,
        "latency_scale": one.latency_scale,
        "model": _letter(one.model),
        "budgets": one.budgets.model_dump(mode="json"),
        "lost": one.lost,
        **asdict(one.costs),
    }


def _point_json(point: CurvePoint) -> dict[str, Any]:
    return {
        "models": point.most,
        "used": len(point.models),
        "value": point.value,
        "bound": point.bound,
        "status": point.status,
        "gain": point.gain,
        "gain_standard_error": point.gain_error,
    }


def _letter(number: int) -> str:
    """A, B, ..., Z, A1, B1, ...: the name of a model in the tables."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _tightest(one: ServedClass) -> str:
    """The budget that is used most."""
    used = one.budgets.slack(one.costs)
    if not used:
        return "none"
    name = max(used, key=lambda budget: used[budget])
    return f"{used[name]:.0%} of {name.replace('_', ' ')}"
