"""How large the HTML report of a busy host is, and how fast a real chromium is with it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

from bench import busy_host
from bench.commands import measure_command
from bench.errors import BenchError
from bench.stats import Summary

PROCESSES = 10_000
_EVENTS = 47_000  # of a busy host: so many processes, and some more

# In turns all over the picture; the frame after each step has been painted when the next begins.
_ZOOM = """async (count) => {
  const { picture } = rtrace;
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const times = [];
  picture.setScope(0);
  await frame();
  for (let i = 0; i < count; i++) {
    const begun = performance.now();
    if (i % 4 === 3) {
      picture.reset();
    } else if (i % 2) {
      picture.zoomTime(0.5);
    } else {
      picture.pan(0.05, 37);
    }
    await frame();
    times.push(performance.now() - begun);
  }
  return times;
}"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


@dataclass(frozen=True, slots=True)
class PageCost:
    """Of the page of 10,000 processes or some more.

    Attributes:
        bytes: of the file. processes: how many.
        paint_s: from navigation to the first contentful paint.
        ready_s: until the picture can be used.
        zoom_s: a step: zoomed, moved or reset, and painted.
    """

    bytes: int
    processes: int
    paint_s: Summary
    ready_s: Summary
    zoom_s: Summary


def measure_page(directory: Path, rounds: int) -> PageCost:
    """Makes the capture and its page, and opens it that often.

    Raises:
        BenchError: there is no chromium, or it does not start.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise BenchError("chromium not found; install chromium")
    capture, page = directory / "busy.rtrace", directory / "busy.html"
    busy_host.write_capture(capture, _EVENTS, 1)
    measure_command(["report", str(capture), "--format", "html", "-o", str(page), "--force"], 1)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    paints, readies, zooms = [], [], []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=args)
            for _ in range(rounds):
                context = browser.new_context(viewport={"width": 1440, "height": 900}, offline=True)
                opened = context.new_page()
                opened.goto(page.as_uri())
                processes = _processes(opened)
                paints.append(opened.evaluate(_PAINT) / 1e3)
                readies.append(opened.evaluate(_READY) / 1e3)
                zooms += [ms / 1e3 for ms in opened.evaluate(_ZOOM, 12)]
                context.close()
            browser.close()
    except Error as error:
        raise BenchError(f"chromium: {error.message.splitlines()[0]}") from None
    return PageCost(
        page.stat().st_size, processes, *(Summary.of(values) for values in (paints, readies, zooms))
    )


def _processes(page: Page) -> int:
    count: int = page.evaluate("rtrace.count")
    if count < PROCESSES:
        raise BenchError(f"the page has {count} processes only")
    return count
