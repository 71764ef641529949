"""The HTML of a comparison of real captures, in a real chromium."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.html.conftest import Open
from tests.incidents import PAYLOADS

pytestmark = pytest.mark.browser

_SCENARIOS = ("shim-kill", "containerd-kill", "container-exit", "exec")


def page_of(captures: Path, folder: Path, *labels: str) -> str:
    """Docker 20.10 with shim v2 (containerd is a service) beside v1 (dockerd's child).

    By a process of its own: it forks others, which this one, with a browser's driver, must not.
    """
    paths = [
        f"{label}={captures}/bullseye-{topology}-{scenario}.rtrace"
        for label, topology in zip(labels, "AC", strict=True)
        for scenario in _SCENARIOS
    ]
    page = folder / "compare.html"
    rtrace = Path(sys.executable).with_name("rtrace")
    subprocess.run([rtrace, "compare", *paths, "--format", "html", "-o", page], check=True)
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def captures() -> Path:
    return Path(__file__).parents[1] / "golden" / "captures"


@pytest.fixture(scope="module")
def old_and_new(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(captures, tmp_path_factory.mktemp("compare"), "new", "old")


def test_the_matrix_with_evidence_one_click_away(open_page: Open, old_and_new: str) -> None:
    opened = open_page(old_and_new)
    page = opened.page
    cell = page.locator(".matrix tr:has-text('containerd-exit') td").nth(1)
    assert "≠" in cell.inner_text()
    cell.locator("a").click()
    opened.wait("location.hash === '#containerd-exit-2'")
    target = page.locator("#containerd-exit-2")
    assert "shim reparented from" in target.inner_text()
    opened.wait(
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


def test_labels_run_nothing(open_page: Open, captures: Path, tmp_path: Path) -> None:
    # A label ends at the first "=".
    payloads = [payload.replace("=", "") for payload in PAYLOADS]
    payloads += ["<script>hit()</script>", "<img src onerror>"]
    labels = random.Random(1).sample(payloads, 2)
    opened = open_page(page_of(captures, tmp_path, *labels))
    opened.page.wait_for_timeout(200)
    assert opened.problems == []
    assert opened.run("document.querySelectorAll('script').length") == 3
    assert opened.run("document.querySelectorAll('img, svg, iframe, object, link').length") == 0
