"""The HTML of a comparison of real captures, in a real chromium."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from analysis.compare.comparison import build_comparison
from analysis.compare.gather import find_sources, measure_all
from analysis.html.compare_page import render_comparison_page
from tests.html.conftest import Open
from tests.incidents import PAYLOADS

pytestmark = pytest.mark.browser

_SCENARIOS = ("shim-kill", "containerd-kill", "container-exit", "exec")


def page_of(captures: Path, *labels: str) -> str:
    """Docker 20.10 with shim v2 (containerd is a service) beside v1 (dockerd's child)."""
    paths = [
        f"{label}={captures}/bullseye-{topology}-{scenario}.rtrace"
        for label, topology in zip(labels, "AC", strict=True)
        for scenario in _SCENARIOS
    ]
    measured, skipped = measure_all(find_sources(paths), lambda done, total: None)
    assert not skipped
    return render_comparison_page(build_comparison(measured, skipped, None))


@pytest.fixture(scope="module")
def captures() -> Path:
    return Path(__file__).parents[1] / "golden" / "captures"


@pytest.fixture(scope="module")
def old_and_new(captures: Path) -> str:
    return page_of(captures, "new", "old")


def test_the_matrix_with_evidence_one_click_away(open_page: Open, old_and_new: str) -> None:
    opened = open_page(old_and_new)
    page = opened.page
    cell = page.locator(".matrix tr:has-text('containerd-exit') td").nth(1)
    assert "≠" in cell.inner_text()
    cell.locator("a").click()
    page.wait_for_function("location.hash === '#containerd-exit-2'")
    target = page.locator("#containerd-exit-2")
    assert "shim reparented from" in target.inner_text()
    page.wait_for_function(
        "document.getElementById('containerd-exit-2').getBoundingClientRect().top < innerHeight"
    )
    assert opened.problems == []


def test_latencies_are_drawn(open_page: Open, old_and_new: str) -> None:
    opened = open_page(old_and_new)
    page = opened.page
    drawn = page.locator(".latency canvas")
    assert drawn.count() == page.locator(".latency").count() > 3
    row = page.locator("#latency-run")
    row.scroll_into_view_if_needed()
    x, y = opened.run(
        """() => {
          const chart = echarts.getInstanceByDom(document.getElementById("latency-run"));
          const [first] = chart.getOption().series[0].data;
          return chart.convertToPixel("grid", first.value);
        }"""
    )
    box = row.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector(".tip-text")
    assert opened.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(open_page: Open, old_and_new: str, scheme: Any) -> None:
    opened = open_page(old_and_new, color_scheme=scheme)
    found = Axe().run(opened.page).response["violations"]
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
    assert opened.problems == []


def test_labels_run_nothing(open_page: Open, captures: Path) -> None:
    # A label ends at the first "=".
    payloads = [payload.replace("=", "") for payload in PAYLOADS]
    payloads += ["<script>hit()</script>", "<img src onerror>"]
    opened = open_page(page_of(captures, *random.Random(1).sample(payloads, 2)))
    opened.page.wait_for_timeout(200)
    assert opened.problems == []
    assert opened.run("document.querySelectorAll('script').length") == 3
    assert opened.run("document.querySelectorAll('img, svg, iframe, object, link').length") == 0
