"""`report.html` is complete, self-contained, reproducible and safe."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from device_profiles.cost_models.utilisation import KernelUse
from factory_base.errors import DiskError
from model_factory.report.data import ReportData
from model_factory.report.render import budget_uses, by_platform, latency_note, render_report, write_report

HOSTILE = "模 <script>alert(1)</script> & \"quotes\" 'too' $x_1$ \x00\x0b \ud800 ]]> {{ 7 * 7 }}"


class _Page(HTMLParser):
    """Collects every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)


def test_nothing_is_loaded_from_elsewhere(report: ReportData) -> None:
    page = render_report(report)
    elements = _Page(page).elements
    references = [v or "" for _, a in elements for k, v in a.items() if k in ("src", "href", "xlink:href", "srcset")]
    assert all(reference.startswith("#") for reference in references)
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in elements}
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", page))


def test_every_tier_and_its_numbers_appear(report: ReportData) -> None:
    page = render_report(report)
    for text in ("midrange", "flagship", "model-1", "model-2", "90.0 %", "88.0 % – 92.0 %", "1.5 M", "3 M", "900 us"):
        assert text in page
    assert "90 % of 1 ms" in page
    assert "50 % of 1 MiB" in page


def test_test_accuracy_and_held_out_accuracy_are_distinguished(report: ReportData) -> None:
    page = render_report(report)
    assert "359 test images" in page
    assert "143 held-out images, which guided the" in page
    assert ">held-out accuracy</text>" in page


def test_the_page_lists_what_was_measured_and_modelled_and_all_warnings(report: ReportData) -> None:
    page = render_report(report)
    for text in ("<li>parity</li>", "<li>latency</li>", "<li>both tiers are close</li>", "2.13.0", "61.0 s", "0" * 64):
        assert text in page
    assert "Before you use this family" not in render_report(replace(report, warnings=()))


def test_the_same_data_give_the_same_page(report: ReportData) -> None:
    first = render_report(report)
    assert render_report(report) == first
    program = "import sys, pickle; from model_factory.report.render import render_report;"
    program += "sys.stdout.buffer.write(render_report(pickle.load(sys.stdin.buffer)).encode())"
    import pickle

    other = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(report), capture_output=True, check=True)
    assert other.stdout.decode() == first


def test_hostile_text_stays_text(report: ReportData) -> None:
    tiers = tuple(replace(t, tier=HOSTILE, platform=HOSTILE, note=HOSTILE, latency_basis=HOSTILE) for t in report.tiers)
    fronts = tuple(replace(f, device=HOSTILE, latency_basis=HOSTILE) for f in report.fronts)
    hostile = replace(report, family_id=HOSTILE, tiers=tiers, fronts=fronts, warnings=(HOSTILE,), dataset_name=HOSTILE)
    page = render_report(hostile)
    assert "script" not in {tag for tag, _ in _Page(page).elements}
    assert "{{ 7 * 7 }}" in page
    for svg in svgs(page):
        ElementTree.fromstring(svg)


def test_plots_are_valid_xml_with_distinct_ids(report: ReportData) -> None:
    page = render_report(replace(report, fronts=report.fronts * 2))
    roots = [ElementTree.fromstring(svg) for svg in svgs(page)]
    assert len(roots) == 4
    ids = [element.get("id") for root in roots for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="#|url\(#)([^)"]+)', page)
    assert used
    assert set(used) <= set(ids)


def test_plots_follow_the_colours_of_the_page(report: ReportData) -> None:
    text = "".join(svgs(render_report(report)))
    assert "var(--ink)" in text
    assert not re.findall(r"#[0-9a-f]{6}\b", text)


def test_an_empty_family_without_training_can_be_shown(report: ReportData) -> None:
    page = render_report(replace(report, curve=None, fronts=(), tiers=(), warnings=(), measured=(), modelled=()))
    assert "This family has no tiers." in page
    assert "Nothing was measured." in page
    assert not svgs(page)


def test_a_front_without_points_can_be_shown(report: ReportData) -> None:
    (front,) = report.fronts
    page = render_report(replace(report, fronts=(replace(front, points=(), latency_budget_us=None),)))
    assert len(svgs(page)) == 3


def test_the_order_of_tiers_is_that_of_the_resolver(report: ReportData) -> None:
    low, high = report.tiers
    floor = replace(low, tier="floor", platform="any", rank=0)
    platforms = by_platform([floor, low, replace(low, platform="web"), high])
    assert [p.name for p in platforms] == ["android", "web", "any"]
    assert [t.tier for t in platforms[0].tiers] == ["flagship", "midrange"]


@pytest.mark.parametrize(
    ("latency", "budget", "share"),
    [(500.0, 1000.0, "50 %"), (1000.0, 1000.0, "100 %"), (1000.01, 1000.0, "100.01 %"), (2000.0, 1000.0, "200 %")],
)
def test_an_exceeded_budget_never_reads_as_kept(report: ReportData, latency: float, budget: float, share: str) -> None:
    tier = replace(report.tiers[0], latency_us=latency, latency_budget_us=budget)
    assert budget_uses(tier)[0].share == share
    page = render_report(replace(report, tiers=(tier,)))
    assert ('class="bar over"' in page) == (latency > budget)


def test_a_derived_budget_states_what_it_was_derived_from(report: ReportData) -> None:
    tier = replace(report.tiers[0], budget_origins={"latency": "1000 fps"})
    assert [use.origin for use in budget_uses(tier)] == ["1000 fps", "", "", ""]
    assert '<small class="origin">1000 fps</small>' in render_report(replace(report, tiers=(tier,)))
    assert 'class="origin"' not in render_report(report)


def test_budgets_for_macs_and_energy_are_shown_if_they_are_set(report: ReportData) -> None:
    energy = {"energy_uj": 1500.0, "energy_budget_uj": 3000, "energy_basis": "assumed"}
    tier = replace(report.tiers[0], macs_budget=2_000_000, **energy)
    page = render_report(replace(report, tiers=(tier,)))
    assert "<small>75 % of 2 M</small>" in page
    assert "energy 1.5 mJ (assumed), 50 % of 3 mJ" in page
    assert page.count("no budget") == render_report(report).count("no budget") // 2 == 1


def test_a_tier_without_a_device_has_no_latency(report: ReportData) -> None:
    floor = replace(report.tiers[0], latency_us=None, latency_basis="", latency_budget_us=None)
    assert budget_uses(floor)[0].value == "–"
    assert "900 us" not in render_report(replace(report, tiers=(floor,)))


def test_the_file_is_written_whole_or_not_at_all(report: ReportData, tmp_path: Path) -> None:
    write_report(report, tmp_path / "dist/report.html")
    assert (tmp_path / "dist/report.html").read_text(encoding="utf-8") == render_report(report)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiskError):
        write_report(report, tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["dist", "folder", "report.html"]


def test_describing_a_report_imports_no_matplotlib() -> None:
    program = "import sys, model_factory.report.render, model_factory.report.data; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "torch", "numpy"} & set(loaded)


def test_the_arena_the_load_time_and_the_use_of_the_machine_are_shown(report: ReportData) -> None:
    uses = (
        KernelUse(kind="pointwise", latency_us=700.0, share_of_peak=0.625),
        KernelUse(kind="elementwise", latency_us=10.0, share_of_peak=None),
    )
    measured = replace(report.tiers[0], arena="arena 2.34 MiB, optimal", load_us=4200.0, uses=uses)
    page = render_report(replace(report, tiers=(measured, report.tiers[1])))
    assert "energy" not in page
    for text in (
        "arena 2.34 MiB, optimal",
        "load 4.2 ms",
        "Where the time goes",
        "pointwise",
        "62.5 %",
        "above the peak</td>",
    ):
        assert text in page
    assert "Where the time goes" not in render_report(report)


def test_a_known_energy_is_shown_with_its_provenance(report: ReportData) -> None:
    known = replace(report.tiers[0], energy_uj=1234.0, energy_basis="assumed")
    assert "modelled, energy 1.23 mJ (assumed)" in render_report(replace(report, tiers=(known,)))
    assert latency_note(replace(known, load_us=4200.0)) == "modelled, load 4.2 ms, energy 1.23 mJ (assumed)"
    assert latency_note(report.tiers[0]) == "modelled"


def test_precision_proof_and_what_was_done_are_shown_for_every_model(report: ReportData) -> None:
    page = render_report(report)
    for text in (
        "fp32<small>", "int8<small>", "mse ranges, equalised; best of 3 attempts", "-0.12 points (-0.31 to +0.07)",
        "2.5e-02<small>32 dB", "99.00 %<small>990 of 1000", "181 us<small>203 us, 1,000 runs", "2.9 ms", "12 MiB",
        "a processor, 1 thread, onnxruntime 1.32.0", "Conv, QuantizeLinear",
    ):  # fmt: skip
        assert text in page
    assert "Proof of the files" not in render_report(replace(report, proofs=()))
