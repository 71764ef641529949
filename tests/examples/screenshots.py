"""`.venv/bin/python -m tests.examples.screenshots [FOLDER]`: makes docs/images anew, in chromium.

Of the incident in shop.rtrace, and of a comparison of some captures in tests/golden. Look at them
before you commit them: docs/html-report.md and README tell what is to be seen in each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image  # matplotlib brings it
from playwright.sync_api import Browser, Page, sync_playwright

from tests.examples.pages import CHECKOUT
from tests.kernel.recording import RTRACE

_WIDTH = 1360
_INCIDENT = CHECKOUT / "tests/examples/shop.rtrace"
_COMPARED = ("container-kill", "containerd-kill", "dockerd-restart", "shim-kill", "start")


def main() -> None:
    """Writes all pictures."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else CHECKOUT / "docs/images"
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        incident, compared = Path(scratch, "incident.html"), Path(scratch, "compare.html")
        _render(incident, "report", str(_INCIDENT))
        golden = CHECKOUT / "tests/golden/captures"
        chosen = [str(c) for name in _COMPARED for c in sorted(golden.glob(f"*-{name}.rtrace"))]
        _render(compared, "compare", *chosen)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=args)
        _show_incident(browser, incident, folder)
        _show_comparison(browser, compared, folder)
        browser.close()


def _render(page: Path, *words: str) -> None:
    subprocess.run([RTRACE, *words, "--format", "html", "-o", page], check=True)


def _open(browser: Browser, path: Path, *, height: int, dark: bool = False) -> Page:
    context = browser.new_context(
        viewport={"width": _WIDTH, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        offline=True,
    )
    page = context.new_page()
    page.goto(path.as_uri())
    return page


def _shoot(page: Page, path: Path, *, above: str | None = None) -> None:
    """What the window shows, from an element on."""
    if above:
        page.evaluate(f"document.querySelector('{above}').scrollIntoView()")
    page.wait_for_timeout(500)  # the chart draws in the background
    page.screenshot(path=path)
    with Image.open(path) as picture:  # a fourth of the size, and looks the same
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def _show_incident(browser: Browser, path: Path, folder: Path) -> None:
    page = _open(browser, path, height=1010)
    _shoot(page, folder / "html-incident.png")

    # What followed: the rest of the story, and the time that it took.
    for _ in range(page.locator("#story .step").count()):
        page.click("#step-after")
    page.evaluate("rtrace.picture.show([3.02e9, 4.45e9], [0, 30])")
    _shoot(page, folder / "html-followed.png", above="#picture")

    page = _open(browser, path, height=620)
    _shoot(page, folder / "html-talk.png", above="#talks")

    page = _open(browser, path, height=900, dark=True)
    page.click("#everything")
    page.select_option("#scope", label="container shop")
    page.evaluate("rtrace.picture.select(rtrace.data.kills[0][1])")
    _shoot(page, folder / "html-container.png", above="#picture")


def _show_comparison(browser: Browser, path: Path, folder: Path) -> None:
    page = _open(browser, path, height=540)
    _shoot(page, folder / "html-compare.png", above="#behaviours")


if __name__ == "__main__":
    main()
