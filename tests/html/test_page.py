"""The HTML report in a real chromium: opened from a file, used, searched, printed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from analysis.html.report_page import render_report_page
from analysis.model import open_capture
from analysis.report import build_report
from tests import incidents, lives
from tests.html.conftest import Open, Opened, page_of
from tests.incidents import PAYLOADS
from tests.streams import Stream

pytestmark = pytest.mark.browser


def position(opened: Opened, ts: float, process: int) -> tuple[float, float]:
    """Where on the screen a moment of a process is."""
    x, y = opened.run(
        f"rtrace.chart.convertToPixel({{gridIndex: 0}}, [{ts}, "
        f"rtrace.picture.state.rowOf.get({process})])"
    )
    box = opened.page.locator("#chart").bounding_box()
    assert box is not None
    return box["x"] + x, box["y"] + y


def process(opened: Opened, role: str) -> Any:
    """Number of the first process with a role."""
    return opened.run(f"rtrace.processes.role.indexOf('{role}')")


def test_the_page_of_an_incident_says_who_killed_what(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream)
    page = opened.page
    said = page.locator(".answer").inner_text()
    assert "Why shop ended" in said
    assert "killed by SIGKILL (9), sent by disk-cleanup" in said
    assert page.locator("#scope-size").inner_text().endswith("processes")
    steps = page.locator("#story .step").all_inner_texts()
    assert "sent SIGKILL (9) to containerd-shim" in steps[0]
    assert opened.chart("rows.length") > 5
    assert opened.problems == []


def test_zoom_click_and_hover(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream)
    page = opened.page
    page.click("#everything")
    before = opened.chart("time")
    page.click("#zoom-in")
    inner = opened.chart("time")
    assert before[0] < inner[0] < inner[1] < before[1]
    page.click("#zoom-all")
    assert opened.chart("time") == pytest.approx(before)

    shim = process(opened, "shim-v2")
    opened.run(f"rtrace.picture.showLife({shim})")
    page.locator("#chart").scroll_into_view_if_needed()
    middle = opened.run(f"(rtrace.life({shim}).begin + rtrace.life({shim}).end) / 2")
    opened.run("rtrace.picture.select(-1)")
    at = position(opened, middle, shim)
    page.mouse.move(*at)
    page.wait_for_selector(".tip-text")
    assert "shim-v2, shop" in page.locator(".tip-text").inner_text()
    page.mouse.click(*at)
    details = page.locator("#details").inner_text()
    assert "killed by SIGKILL, sent by disk-cleanup" in details

    page.keyboard.down("Control")
    page.mouse.wheel(0, -240)
    page.keyboard.up("Control")
    opened.wait(f"rtrace.picture.state.time[1] - rtrace.picture.state.time[0] < {middle}")
    assert opened.problems == []


def test_findings_and_steps_jump_to_their_place(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream)
    page = opened.page
    page.click("#everything")
    page.click("#containers .timeline tr:has-text('SIGKILL') button.show >> nth=0")
    [from_ns, to_ns] = opened.chart("time")
    ts = opened.run("rtrace.data.kills[0][0]")
    assert from_ns < ts < to_ns
    assert opened.chart("selected") >= 0
    page.click("#findings .card.error [data-story]")
    assert opened.chart("scope.title").startswith("Why shop ended")
    page.click("#step-after")
    assert page.locator("#story .step[aria-current]").count() == 1
    assert opened.problems == []


def test_numbers_of_steps_stay_in_order_whatever_was_shown_before(open_page: Open) -> None:
    opened = open_page(page_of(Path("tests/examples/shop.rtrace")))
    count = opened.page.locator("#story .step").count()
    for _ in range(count):
        opened.page.click("#step-after")
    opened.run("rtrace.picture.show([3.02e9, 4.45e9], [0, 30])")
    drawn = (
        "rtrace.chart.getZr().storage.getDisplayList(true)"
        ".filter((shape) => shape.type === 'circle' && shape.getTextContent())"
        ".map((shape) => [Number(shape.getTextContent().style.text), shape.shape.cx])"
    )
    opened.wait(f"{drawn}.length === {count}")
    where = dict(opened.run(drawn))
    rows: dict[int, list[float]] = {}
    for _, row, number in opened.run("rtrace.steps"):
        rows.setdefault(row, []).extend([where[number]] if number in where else [])
    assert any(len(places) > 1 for places in rows.values())
    assert all(places == sorted(places) for places in rows.values())


def test_search(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream)
    page = opened.page
    page.fill("#search", "cleanup old")
    assert page.locator("#found-count").inner_text() == "1 process"
    page.click("#found button")
    assert page.locator("#details h3").inner_text().startswith("disk-cleanup")
    page.fill("#search", "no such thing")
    assert page.locator("#found-count").inner_text() == "0 processes"
    page.fill("#search", "shop")
    page.press("#search", "Enter")
    assert opened.run("rtrace.processes.container[rtrace.picture.state.selected]") == 0
    assert opened.problems == []


def test_everything_can_be_done_without_a_mouse(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream)
    page = opened.page
    page.focus("#chart")
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert opened.run("rtrace.currentStep") == 2
    said = page.locator("#said").inner_text()
    assert "was killed by SIGKILL" in said
    before = opened.chart("time")
    page.keyboard.press("+")
    assert opened.chart("time")[0] > before[0]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    first = opened.chart("selected")
    page.keyboard.press("ArrowDown")
    assert opened.chart("selected") != first
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert opened.chart("selected") == -1
    assert opened.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_in_light_and_dark(open_page: Open, scheme: Any) -> None:
    opened = open_page(incidents.recycled().stream, color_scheme=scheme)
    background = opened.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    found = Axe().run(opened.page).response["violations"]
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []
    opened.page.click("#theme")
    assert opened.run("getComputedStyle(document.body).backgroundColor") != background
    assert opened.problems == []


def test_motion_is_left_out_where_asked_for(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream, reduced_motion="reduce")
    assert opened.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_a_zombie_is_drawn_only_if_the_end_shows_it(open_page: Open) -> None:
    """GIVEN three that ended: one was reaped, one without a REAP in the capture, one never."""
    stream = Stream()
    parent = stream.process("parent")
    stream.snapshot("start")
    children = [stream.fork(parent) for _ in range(3)]
    for child in children:
        stream.die(child, reap=child is children[0])
    stream.reap_unseen(children[1])
    stream.wait(1_000_000_000)
    stream.snapshot("end")
    opened = open_page(stream)
    said = []
    for child in children:
        number = f"rtrace.processes.id.indexOf('{child.id}')"
        opened.run(f"rtrace.picture.select({number})")
        waited = opened.run(f"rtrace.life({number}).zombieUntil !== null")
        said.append((waited, opened.page.locator("#details").inner_text()))
    reaped, unseen, zombie = said
    assert (reaped[0], unseen[0], zombie[0]) == (True, False, True)
    assert "never waited for" not in reaped[1] + unseen[1]
    assert "by the end; when was not seen" in unseen[1]
    assert "never waited for" in zombie[1]
    assert opened.problems == []


def test_on_paper(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream, color_scheme="dark")
    page = opened.page
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") <= 12
    page.emulate_media(media="print")
    assert not page.locator("#search").is_visible()
    assert page.locator("#containers .timeline td").first.is_visible()
    assert opened.problems == []


def test_without_scripts_all_stands_in_tables(open_page: Open) -> None:
    opened = open_page(incidents.recycled().stream, java_script_enabled=False)
    text = opened.page.locator("main").inner_text()
    assert "container-recycled" in text
    assert "The picture needs scripts" in text
    assert "was killed by SIGKILL (9), sent by disk-cleanup" in text


def test_losses_and_cuts_are_seen(open_page: Open) -> None:
    h = lives.life()
    h.stream.lost(3)
    h.stream.loss()
    opened = open_page(h.stream, complete=False)
    assert opened.page.locator(".warn").count() == 2
    assert opened.run("rtrace.data.losses.length") == 1
    assert opened.run("rtrace.data.complete") is False
    words = opened.run("rtrace.tipOf('losses', [0, 1, 0, 1, 0]).innerText")
    assert "3 events" in words
    assert opened.problems == []


def test_who_talks_to_whom_is_drawn(open_page: Open, tmp_path: Path) -> None:
    """Of a report whose control path has every state, with a hostile socket."""
    path = incidents.recycled().stream.write(tmp_path / "y.rtrace")
    report = build_report(open_capture(path))
    [container] = report["containers"]
    container["end"]["how"] = "running"
    daemon, manager, shim = (container[key] for key in ("daemon", "manager", "shim"))
    seen = {"protocol": "containerd-grpc", "socket": PAYLOADS[0], "first_ns": 1, "last_ns": 2}
    seen |= {"from_end": {}, "to_end": {}, "accepted": True}
    ends = {"from": daemon, "to": manager}
    broken = {"from": manager, "to": shim, "protocol": "shim-ttrpc", "state": "not-connected"}
    container["control_path"] = [{**broken, "socket": None, "last_ns": None, "ended": []}]
    report["control_path"] = {
        "known": True,
        "why": None,
        "looks": [{"complete": True}],
        "connections": [{**seen, **ends, "at_end": True}],
        "listeners": [],
    }
    opened = open_page(render_report_page(report, []))
    assert opened.page.locator("#talk-chart canvas").count() == 1
    states = [edge["state"] for edge in opened.run("rtrace.data.talk.edges")]
    assert states == ["not-connected", "connected"]
    assert opened.page.locator("#talks td code").inner_text() == PAYLOADS[0]
    assert "NOT CONNECTED" in opened.page.locator("#containers").inner_text()
    assert opened.problems == []


@pytest.mark.parametrize("number", range(3))
def test_nothing_of_a_capture_runs(open_page: Open, number: int) -> None:
    """Names of everything are payloads, and everything that shows them is shown."""
    pick = random.Random(number).sample(PAYLOADS, len(PAYLOADS))
    h = incidents.recycled(comm=pick[0], name=pick[1], argument="".join(pick), cgroup=f"/{pick[2]}")
    for payload in pick[3:]:
        child = h.stream.fork(h.shell, comm=payload[:15])
        h.stream.exec(child, payload, [payload, *pick], comm=payload[:15], cgroup=f"/{payload}")
    h.stream.header["host"].update(hostname=pick[4], init=pick[5], os=pick[6], kernel=pick[7])
    h.stream.fact("problem", what=pick[8])
    h.stream.fact("runtime", name=pick[9], version=pick[10])
    h.stream.trigger("shim-exit", child, pick[11])
    h.stream.snapshot("end")
    opened = open_page(h.stream)
    opened.page.click("#everything")
    opened.run(
        """() => {
          for (let process = 0; process < rtrace.count; process++) {
            rtrace.picture.showLife(process);
            document.body.append(rtrace.tipOf("bars", [0, 0, 0, process]));
            document.getElementById("search").value = rtrace.processes.name[process];
            rtrace.tables.search();
          }
          for (let scope = 0; scope < rtrace.picture.scopes.length; scope++) {
            rtrace.picture.setScope(scope);
          }
        }"""
    )
    opened.page.wait_for_timeout(200)
    assert opened.problems == []
    assert opened.run("document.querySelectorAll('script').length") == 3
    assert opened.run("document.querySelectorAll('img, svg, iframe, object, link').length") == 0
    assert opened.run("document.querySelectorAll('style').length") == 1


def test_boot_times_beyond_2_to_the_53(open_page: Open) -> None:
    s = Stream(start_ns=2**53 * 3 + 1)
    init = s.process("systemd", tgid=1)
    child = s.fork(init, at=s.start_ns + 7)
    s.die(child)
    s.snapshot("end")
    opened = open_page(s)
    assert 7 in opened.run("rtrace.processes.fork")
    assert opened.run("rtrace.processes.start").count(-(10**9)) == 1
    assert opened.problems == []
