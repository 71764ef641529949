"""Keys of the screen of `record --live`, in textual's own pilot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from screen.app import LiveScreen, Pane
from screen.last_events import LastEvents
from screen.link import Status
from screen.picture import Picture
from tests.growing import picture_of
from tests.lives import begin, host

MINUTE = 60_000_000_000


class Recorder:
    """Takes down what keys ask for; jobs are done at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def begin(self) -> None:
        self.asked.append("begin")

    def save(self) -> None:
        self.asked.append("save")

    def end(self) -> None:
        self.asked.append("end")

    def do(self, job: Callable[[], None]) -> None:
        job()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Picture:
    """Two containers; the shim of one was killed."""
    h = host()
    begin(h, cid="7" * 64, name="[b]db[/b]")
    people = begin(h)
    h.stream.signal(people["shim"], 9, h.shell)
    h.stream.die(people["shim"], signal=9)
    h.stream.wait(MINUTE)
    return picture_of(tmp_path_factory.mktemp("live") / "x.rtrace", h.stream)


async def until(pilot: Pilot[None], check: Callable[[], object]) -> None:
    """Lets the screen work until something is so: the machine may be slow."""
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        await pilot.pause(0.01)


Steps = Callable[[LiveScreen, Pilot[None]], Awaitable[None]]


def drive(picture: Picture, steps: Steps, size: tuple[int, int] = (80, 24)) -> Recorder:
    """Does something with a screen that shows a picture."""
    recorder = Recorder()

    async def run() -> None:
        app = LiveScreen("x.rtrace", "", 0, recorder)
        async with app.run_test(size=size) as pilot:
            app.show_status(Status(events=5, rate=1.0, bytes=10))
            app.show_picture(picture)
            await until(pilot, lambda: rows(app, "containers"))
            await steps(app, pilot)

    asyncio.run(run())
    return recorder


def rows(app: LiveScreen, name: str) -> list[list[str]]:
    table = app.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(n)] for n in range(table.row_count)]


def story(app: LiveScreen) -> str:
    """Text of the pane; "" while there is none."""
    return text_of(app, "story") if app.screen.query("#story") else ""


def text_of(app: LiveScreen, name: str) -> str:
    return str(app.screen.query_one(f"#{name}", Static).render())


def test_what_it_shows(picture: Picture) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        assert [row[0] for row in rows(app, "daemons")] == ["dockerd", "containerd"]
        assert {row[0]: row[2] for row in rows(app, "containers")} == {
            "web": "no shim",
            "[b]db[/b]": "running",  # no markup
        }
        assert rows(app, "findings")[0][0] == "error"
        assert "as of " in text_of(app, "age")

    assert drive(picture, steps).asked == ["begin"]


def test_filter_and_back(picture: Picture) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"web")
        assert [row[0] for row in rows(app, "containers")] == ["web"]
        assert rows(app, "daemons") == []
        await pilot.press("enter")
        assert not app.query_one("#filter", Input).display
        assert [row[0] for row in rows(app, "containers")] == ["web"]
        assert "'web'" in text_of(app, "age")
        await pilot.press("s")  # a key again, no text
        await pilot.press("escape")
        assert len(rows(app, "containers")) == 2

    assert drive(picture, steps).asked == ["begin", "save"]


def test_keys_that_come_at_once(picture: Picture) -> None:
    """GIVEN / and a text, typed faster than a slow machine draws THEN none of it is a command."""

    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        assert app._driver is not None
        for key, letter in [("slash", "/"), *zip("spq", "spq", strict=True), ("enter", None)]:
            app._driver.process_message(events.Key(key, letter))
        await until(pilot, lambda: "'spq'" in text_of(app, "age"))
        await until(pilot, lambda: not app.query_one("#filter", Input).display)

    assert drive(picture, steps).asked == ["begin"]


def test_findings_alone(picture: Picture) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        await pilot.press("f")
        assert not app.query_one("#containers").display
        assert app.query_one("#findings", DataTable).has_focus
        await pilot.press("f")
        assert app.query_one("#containers").display

    drive(picture, steps)


def test_a_row_has_its_story(picture: Picture) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, Pane) and "TIMELINE" in story(app))
        await pilot.press("escape")
        assert not isinstance(app.screen, Pane)
        await pilot.press("f", "enter")
        await until(pilot, lambda: story(app).startswith("error "))
        await pilot.press("q")  # leaves the story, and not the recording
        assert not isinstance(app.screen, Pane)

    assert drive(picture, steps).asked == ["begin"]


def test_the_same_row_stays_chosen(picture: Picture) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        table = app.query_one("#containers", DataTable)
        await pilot.press("down")
        chosen = rows(app, "containers")[table.cursor_row][0]
        await pilot.press("slash", *chosen[:4], "enter")
        assert rows(app, "containers")[table.cursor_row][0] == chosen
        await pilot.press("escape")
        assert rows(app, "containers")[table.cursor_row][0] == chosen

    drive(picture, steps)


def test_a_stopped_view_goes_on_with_the_newest(picture: Picture, tmp_path: Path) -> None:
    h = host()
    newer = picture_of(tmp_path / "y.rtrace", h.stream)

    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        await pilot.press("p")
        app.show_picture(newer)
        await until(pilot, lambda: app._waiting is newer)
        assert len(rows(app, "containers")) == 2
        assert "VIEW STOPPED" in text_of(app, "age")
        await pilot.press("p")
        await until(pilot, lambda: rows(app, "containers") == [])
        assert "VIEW STOPPED" not in text_of(app, "age")

    drive(picture, steps)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_the_end(picture: Picture, key: str) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        await pilot.press(key)
        assert "ENDING" in text_of(app, "age")
        assert app.is_running  # until the recorder is done
        app.recording_ended()
        await until(pilot, lambda: not app.is_running)

    assert drive(picture, steps).asked == ["begin", "end"]


def test_help_and_what_the_recorder_says(picture: Picture) -> None:
    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        assert "escape" in text_of(app, "story")
        await pilot.press("question_mark")
        app.show_line("saved [red]x[/red]")
        await until(pilot, lambda: len(app._notifications))
        (said,) = [toast.message for toast in app._notifications]
        assert said == "saved [red]x[/red]"

    drive(picture, steps)


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (30, 8)])
def test_sizes(picture: Picture, size: tuple[int, int]) -> None:
    last = LastEvents()
    h = host()
    begin(h)
    last.add(h.stream.chunks())

    async def steps(app: LiveScreen, pilot: Pilot[None]) -> None:
        app.show_events(list(last.lines))
        await pilot.resize_terminal(size[0] + 7, size[1] + 3)
        assert rows(app, "containers")
        if size[1] >= 24:
            for name in ("head", "daemons", "containers", "findings", "events"):
                assert app.query_one(f"#{name}").region.height > 0, name
            await until(pilot, lambda: text_of(app, "events").count("\n") >= 1)

    drive(picture, steps, size)
