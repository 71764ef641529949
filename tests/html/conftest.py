"""A real chromium, and pages in it that tell what went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.html.report_page import render_report_page
from analysis.html.stories import choose_targets
from analysis.model import open_capture
from analysis.report import build_report
from analysis.why.answer import build_why
from tests.kernel.recording import wait_for
from tests.streams import Stream


def page_of(capture: Path) -> str:
    """The HTML report of a capture."""
    opened = open_capture(capture)
    report = build_report(opened)
    return render_report_page(report, [build_why(opened, id_) for id_ in choose_targets(report)])


@dataclass
class Opened:
    """A page in the browser.

    Attributes:
        problems: what it wrote to the console, raised, asked of a server, or wanted to say.
    """

    page: Page
    problems: list[str] = field(default_factory=list)

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)

    def wait(self, condition: str) -> None:
        """Until a condition of the page's is true. wait_for_function() would eval() in the page,
        which its Content-Security-Policy forbids."""
        wait_for(lambda: self.run(condition), condition)

    def chart(self, what: str) -> Any:
        """A value of what the picture shows."""
        return self.run(f"rtrace.picture.state.{what}")


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not longer than a module: while a driver runs, this process must not fork.
    # As root chromium has no sandbox to offer.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=args)
        yield found
        found.close()


def open_file(browser: Browser, path: Path, **context: Any) -> Opened:
    """A page of a file, without a network. What it belongs to is the caller's to close."""
    size = {"width": 1440, "height": 900}
    page = browser.new_context(viewport=size, offline=True, **context).new_page()
    page.set_default_timeout(60_000)
    found = Opened(page)
    page.on("console", lambda message: found.problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: found.problems.append(f"dialog: {dialog.message}"))
    page.on(
        "request",
        lambda request: (
            request.url == path.as_uri() or found.problems.append(f"request: {request.url}")
        ),
    )
    page.add_init_script("window.hit = () => console.error('it ran')")
    page.goto(path.as_uri())
    return found


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens the report of a stream, or a page that is there, from a file and without a network."""
    opened: list[Opened] = []

    def open_it(what: Stream | str, *, complete: bool = True, **context: Any) -> Opened:
        if isinstance(what, Stream):
            what = page_of(what.write(tmp_path / "x.rtrace", complete=complete))
        path = tmp_path / "x.html"
        path.write_text(what, encoding="utf-8")
        opened.append(open_file(browser, path, **context))
        return opened[-1]

    yield open_it
    for each in opened:
        each.page.context.close()
