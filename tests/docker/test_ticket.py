"""A ticket of a docker whose shim was killed: what a stranger gets of it, opened as they would."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser

from analysis.model import open_capture
from analysis.report import build_report
from analysis.ticket.picture import draw_timeline
from analysis.why.answer import build_why
from demo.privatedocker import PrivateDocker
from demo.process import Process
from tests.html.conftest import browser as browser
from tests.html.conftest import open_file
from tests.kernel.recording import Recorder, run_rtrace
from tests.redacting import structure
from tests.secrets import all_leaks, every_byte, every_byte_of_ticket, planted
from tests.witness import parent_of

pytestmark = [pytest.mark.docker, pytest.mark.kernel, pytest.mark.browser]

NAME = "t-shop"
# What stands in the container's own command line, its variables, its label, its user's home.
OWN = {
    "variable": "kD7-vertical-Q2x",
    "glued variable": "mX4+salty.w9Lr",
    "label": "Lb5.under-9tKKe",
    "option": "pQ8_daylight!Zz3",
    "export": "hT6-copper^Nn1x",
    "url": "uR1-lantern.0Vb",
    "header": "zJ3-thimble~8Ga.9",
    "user": "mwinklerova",
}
HARMLESS = (
    "NOTE=keep-me-please", "com.example.team=checkout", "--color=always", "/srv/app/data/part-7",
)  # fmt: skip
SCRIPT = (
    f"export API_KEY='{OWN['export']}'; : --password '{OWN['option']}' --color=always; "
    f": psql postgres://app:{OWN['url']}@db/shop /srv/app/data/part-7 /home/{OWN['user']}/x; "
    f': curl -H "X-Auth-Token: {OWN["header"]}" http://shop/; exec sleep 60'
)


@dataclass
class Incident:
    """What was done, and the ticket of it."""

    capture: Path
    ticket: Path
    said: str
    folder: Path
    needles: list[str]
    shim: int
    init: int
    killer: int
    members: dict[str, bytes] = field(default_factory=dict)


def break_it(docker: PrivateDocker, recorder: Recorder, folder: Path) -> tuple[int, int, int]:
    """Runs a container, kills its shim; pids of the shim, of its process 1, of who killed it."""
    docker.docker(
        "run", "-d", "--network", "none", "--name", NAME,
        "-e", f"DB_PASSWORD={OWN['variable']}", f"-eAPI_SECRET={OWN['glued variable']}",
        "-e", "NOTE=keep-me-please", "--label", f"deploy-token={OWN['label']}",
        "--label", "com.example.team=checkout", docker.image, "sh", "-c", SCRIPT,
    )  # fmt: skip
    recorder.wait_until_named(NAME)
    init_pid = int(docker.docker("inspect", "-f", "{{.State.Pid}}", NAME).stdout)
    init, shim = Process.of(init_pid), parent_of(init_pid)
    script = folder / "deploy.py"
    runs = "\n".join(f"run({case.args!r})" for case in planted(41))
    head = "import os, subprocess\n"
    head += "def run(args): subprocess.run(args, executable='/bin/true')\n"
    script.write_text(f"{head}{runs}\nos.kill({shim}, {int(signal.SIGKILL)})\n")
    killer = subprocess.Popen(["python3", str(script)])
    assert killer.wait(60) == 0
    assert init is not None
    assert init.wait_gone(30)
    return shim, init_pid, killer.pid


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Incident:
    folder = tmp_path_factory.mktemp("ticket")
    with PrivateDocker() as docker:
        recorder = Recorder(folder)
        try:
            recorder.wait_until_recording()
            shim, init, killer = break_it(docker, recorder, folder)
        finally:
            recorder.stop()
    ticket = folder / "t.zip"
    ended = run_rtrace("ticket", recorder.path, "-o", ticket)
    assert ended.status == 0, ended.stderr
    needles = [needle for case in planted(41) for needle in case.needles]
    needles += OWN.values()
    made = Incident(recorder.path, ticket, ended.stderr, folder, needles, shim, init, killer)
    with zipfile.ZipFile(ticket) as archive:
        made.members = {name: archive.read(name) for name in archive.namelist()}
    return made


def test_no_secret_is_in_any_byte(incident: Incident) -> None:
    before = every_byte(str(incident.capture))
    assert all(needle.encode() in before for needle in OWN.values())
    content = every_byte_of_ticket(incident.ticket, incident.folder)
    assert len(incident.needles) > 400
    assert all_leaks(content, incident.needles) == []
    for text in (*HARMLESS, NAME, "busybox"):
        assert text.encode() in content, text
    assert "passwords and tokens in options and variables" in incident.said


def test_the_capture_in_it_tells_the_same(incident: Incident) -> None:
    assert structure(incident.ticket) == structure(incident.capture)
    answers = [answer(path) for path in (incident.capture, incident.ticket)]
    assert answers[0] == answers[1]
    ended = run_rtrace("compare", incident.capture, incident.ticket, "--fail-on-change")
    assert ended.status == 0, ended.stdout
    found = build_report(open_capture(incident.ticket))
    (container,) = [c for c in found["containers"] if c["name"] == NAME]
    assert {container["shim"]["tgid"], container["init"]["tgid"]} == {incident.shim, incident.init}
    mine = {f["kind"] for f in found["findings"] if f["container"] == container["id"]}
    assert {"container-recycled", "runtime-killed"} <= mine


def answer(path: Path) -> Any:
    """What `why` says of the container, by structure."""
    said = build_why(open_capture(path), NAME)
    reasons = [reason["certainty"] for reason in said["answer"]["reasons"]]
    steps = [(s["ts_ns"], s["kind"], s["certainty"], s["processes"]) for s in said["chain"]]
    assert steps
    assert reasons
    return reasons, steps, said["target"]["end"]["how"], said["target"]["end"]["exit_signal"]


def test_the_picture_is_of_the_redacted_capture(incident: Incident) -> None:
    drawn = io.BytesIO()
    (incident.folder / "c.rtrace").write_bytes(incident.members["capture.rtrace"])
    capture = open_capture(incident.folder / "c.rtrace")
    draw_timeline(build_report(capture, every_process=True), drawn)
    assert drawn.getvalue() == incident.members["timeline.png"]


def test_the_summary_renders(incident: Incident) -> None:
    """As a tracker does it: tables, headings, nothing but what rtrace wrote."""
    text = incident.members["summary.md"].decode()
    assert len(text) < 65_536
    parser = MarkdownIt("gfm-like", {"html": True})
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False})  # no tracker takes deploy.sh for a host
    tokens = parser.parse(text)
    kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}
    assert {"heading_open", "table_open", "bullet_list_open"} <= kinds
    assert not kinds & {"html_block", "html_inline", "image", "link_open"}
    titles = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    plain = [re.sub(r"[\\`]", "", title) for title in titles]
    for wanted in ("Findings", f"Why {NAME} ended", NAME, "What this is"):
        assert wanted in plain, plain
    words = " ".join(t.content for t in tokens)
    assert "container-recycled" in words
    assert f"({incident.killer})" in re.sub(r"\\", "", words)


def test_narrowed_to_the_container(incident: Incident) -> None:
    """THEN the shim's killer and their ancestors are in it, and what others did is not."""
    path = incident.folder / "narrow.zip"
    ended = run_rtrace("ticket", incident.capture, "--container", NAME, "-o", path)
    assert ended.status == 0, ended.stderr
    whole, narrow = (
        json.loads(run_rtrace("report", p, "--format", "json", "--container", NAME).stdout)
        for p in (incident.capture, path)
    )
    keys = ("kind", "severity", "certainty", "ts_ns", "processes")
    told = [[[f[k] for k in keys] for f in r["findings"]] for r in (whole, narrow)]
    assert told[0] == told[1]
    tgids = {p["tgid"] for p in build_report(open_capture(path), every_process=True)["processes"]}
    assert {incident.shim, incident.init, incident.killer, os.getpid(), 1} <= tgids
    assert answer(path) == answer(incident.capture)
    content = every_byte_of_ticket(path, incident.folder)
    assert all_leaks(content, incident.needles) == []


# --- last: while a browser's driver runs, this process must not fork ---------------------------


@pytest.fixture
def page(incident: Incident, browser: Browser, tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "report.html"
    path.write_bytes(incident.members["report.html"])
    opened = open_file(browser, path)
    yield opened
    opened.page.context.close()


def test_the_page_opens_from_a_file(incident: Incident, page: Any) -> None:
    """Without a network, an error, or a request to anywhere."""
    opened = build_report(open_capture(incident.ticket))
    assert NAME in page.page.inner_text("body")
    assert "container-recycled" in page.page.inner_text("body")
    assert len(page.run("rtrace.processes.role")) == len(opened["processes"])
    assert page.problems == []
