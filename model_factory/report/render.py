"""A report as one HTML file, without scripts and without files from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from factory_base.files import write_text
from factory_base.quantities import format_bytes, format_duration, format_energy, format_macs
from factory_base.wording import counted
from model_factory.report.data import DeviceFront, ReportData, TierRow
from model_factory.report.environment import page_environment, percents

if TYPE_CHECKING:
    from search.target import Proof

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """A cost and the share of its budget that it uses, for people.

    Attributes:
        value: The cost with its unit; a dash if it is not known.
        budget: The budget with its unit; "" without a budget.
        percent: The cost in percent of the budget; 0 without a budget.
        share: `percent` as text, which never reads 100 % if the budget is exceeded; "" without a budget.
        origin: What the budget was derived from; "" if it was given directly.
    """

    value: str
    budget: str
    percent: float
    share: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The tiers of one platform, in the order in which the resolver tries them."""

    name: str
    tiers: tuple[TierRow, ...]


def render_report(data: ReportData) -> str:
    """The page as text. The same data give the same text."""
    from model_factory.report.comparison import comparison_globals
    from model_factory.report.comparison_plot import comparison_svg
    from model_factory.report.plots import accuracy_limits, accuracy_svg, front_svg, loss_svg
    from model_factory.report.quality import quality_globals

    environment = page_environment()
    environment.globals |= {"budget_uses": budget_uses, "latency_note": latency_note, "proof_text": proof_text}
    environment.globals |= quality_globals() | comparison_globals()
    limits = accuracy_limits(data.fronts)
    curve = data.curve
    page = environment.get_template(_TEMPLATE).render(
        data=data,
        platforms=by_platform(data.tiers),
        models=list({tier.model_id: tier for tier in data.tiers}.values()),
        fronts=[(front, Markup(front_svg(front, limits, f"front{i}"))) for i, front in enumerate(data.fronts)],
        compared=[(c, Markup(comparison_svg(c, f"compared{i}"))) for i, c in enumerate(data.comparisons)],
        changed=changed_picks(data.fronts),
        finals=sum(bool(front.finalists) for front in data.fronts),
        quality=data.quality,
        class_names=data.class_names,
        loss=Markup(loss_svg(curve, "loss")) if curve and curve.steps else None,
        accuracy=Markup(accuracy_svg(curve, "accuracy")) if curve and curve.steps and curve.largest_accuracy else None,
    )
    return page.encode("utf-8", "replace").decode()


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to `path`, atomically. Raises `DiskError`."""
    write_text(path, render_report(data))


def by_platform(tiers: Sequence[TierRow]) -> tuple[Platform, ...]:
    """`tiers` grouped by platform, with the highest rank first; those for any platform come last."""
    ordered = sorted(tiers, key=lambda tier: (tier.platform == "any", tier.platform, -tier.rank))
    return tuple(Platform(name=n, tiers=tuple(g)) for n, g in groupby(ordered, key=lambda tier: tier.platform))


def budget_uses(tier: TierRow) -> tuple[BudgetUse, BudgetUse, BudgetUse, BudgetUse]:
    """Latency, peak memory, file size and MACs of a tier, each with its budget."""
    origins = tier.budget_origins
    return (
        _use(tier.latency_us, tier.latency_budget_us, format_duration, origins.get("latency", "")),
        _use(tier.peak_memory_bytes, tier.peak_memory_budget_bytes, format_bytes, origins.get("peak_memory", "")),
        _use(tier.file_bytes, tier.file_budget_bytes, format_bytes, origins.get("file_size", "")),
        _use(tier.macs, tier.macs_budget, format_macs, ""),
    )


def latency_note(tier: TierRow) -> str:
    """The provenance of the latency, then the load time and the energy if they are known."""
    load = [] if tier.load_us is None else [f"load {format_duration(tier.load_us)}"]
    return ", ".join([tier.latency_basis, *load, *([] if tier.energy_uj is None else [_energy_note(tier)])])


def _energy_note(tier: TierRow) -> str:
    use = _use(tier.energy_uj, tier.energy_budget_uj, format_energy, "")
    return f"energy {use.value} ({tier.energy_basis})" + (f", {use.share} of {use.budget}" if use.budget else "")


def changed_picks(fronts: Sequence[DeviceFront]) -> int:
    """The number of devices whose pick is not the finalist that the predictions alone would have picked."""
    picked = [finalist for front in fronts for finalist in front.finalists if finalist.picked]
    return sum(not finalist.would_be_picked_by_prediction for finalist in picked)


def proof_text(proof: Proof) -> str:
    """A sentence on what the solver proved."""
    nodes = counted(proof.nodes, "node")
    pick = f"the pick is predicted at {percents(proof.pick)}"
    if proof.status == "given":
        return f"The config names the subnet of this target, so nothing was solved; {pick}."
    if proof.objective is None or proof.bound is None:
        return f"Not proven ({proof.status}): {pick}, and how far that is from the optimum is not known."
    best = f"the best prediction inside the budgets is {percents(proof.objective)}"
    if proof.status == "optimal":
        return f"Proven: {best}; {pick} ({nodes})."
    bound = f"as far as was found, and none is above {percents(proof.bound)}"
    return f"Not proven ({proof.status}): {best}, {bound}; {pick} ({nodes})."


def _use(value: float | None, budget: float | None, write: Callable[[float], str], origin: str) -> BudgetUse:
    if value is None or budget is None:
        return BudgetUse(value="–" if value is None else write(value), budget="", percent=0.0, share="", origin="")
    percent = 100 * value / budget
    share = f"{percent:.0f} %" if percent <= 100 or percent >= 100.5 else f"{max(percent, 100.01):.2f} %"
    return BudgetUse(value=write(value), budget=write(budget), percent=percent, share=share, origin=origin)
