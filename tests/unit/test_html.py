"""The HTML report as text: what may run in it, what it holds, what it is made of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.html import assemble
from analysis.html.lanes import build_groups
from analysis.html.report_page import render_report_page
from analysis.html.stories import build_story, choose_targets
from analysis.model import open_capture
from analysis.report import build_report
from analysis.why.answer import build_why
from tests import incidents, lives
from tests.incidents import PAYLOADS
from tests.streams import Stream

FOLDER = Path(assemble.__file__).parent


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.raw:
            self._inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data


def page_of(stream: Stream, tmp_path: Path) -> str:
    opened = open_capture(stream.write(tmp_path / "x.rtrace"))
    report = build_report(opened)
    return render_report_page(report, [build_why(opened, id_) for id_ in choose_targets(report)])


def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(tmp_path: Path) -> None:
    elements = Elements(page_of(incidents.recycled().stream, tmp_path))
    [policy] = [a["content"] for t, a in elements.tags if "Content-Security" in str(a)]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    data, *scripts = elements.raw["script"]
    for text in [*scripts, *elements.raw["style"]]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 3
    json.loads(data)


def test_nothing_in_the_page_refers_to_anywhere(tmp_path: Path) -> None:
    elements = Elements(page_of(incidents.recycled().stream, tmp_path))
    for _, attributes in elements.tags:
        assert not {"src", "srcset", "action", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in elements.raw["style"][0]
    assert "url(" not in elements.raw["style"][0]


Tags = list[tuple[str, dict[str, str | None]]]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Tags:
    """Elements of a page in which no name is a payload."""
    return Elements(page_of(incidents.recycled().stream, tmp_path_factory.mktemp("quiet"))).tags


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_a_capture_holds_makes_no_element(payload: str, quiet: Tags, tmp_path: Path) -> None:
    hostile = incidents.recycled(comm=payload, name=payload, argument=payload, cgroup=f"/{payload}")
    loud = Elements(page_of(hostile.stream, tmp_path)).tags
    # Where a cgroup names no unit, less is told.
    assert {tag for tag, _ in loud} <= {tag for tag, _ in quiet}
    names = {name for _, attributes in quiet for name in attributes}
    assert {name for _, attributes in loud for name in attributes} <= names


def test_the_data_cannot_end_its_element(tmp_path: Path) -> None:
    h = incidents.recycled(argument="</script><!--<script>\u2028&")
    text = page_of(h.stream, tmp_path)
    [data] = re.findall(r'id="capture-data">(.*?)</script>', text, re.DOTALL)
    assert not set("<>&\u2028") & set(data)
    picture = json.loads(data)
    assert any("</script>" in command for command in picture["processes"]["command"])


def test_the_chart_library_is_the_published_one() -> None:
    digest = hashlib.sha256((FOLDER / "vendor/echarts.min.js").read_bytes()).hexdigest()
    assert digest in (FOLDER / "vendor/README.md").read_text()
    for name in ("echarts", "zrender", "tslib"):
        assert (FOLDER / f"vendor/{name}.LICENSE").stat().st_size > 100


def test_the_story_of_an_incident_and_what_followed(tmp_path: Path) -> None:
    h = incidents.recycled()
    opened = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    report = build_report(opened)
    targets = choose_targets(report)
    assert targets[:2] == [h.procs["init"].id, h.procs["shim"].id]
    story = build_story(report, build_why(opened, targets[0]))
    assert story["title"] == "Why shop ended"
    assert story["grave"] is True
    assert "disk-cleanup" in story["steps"][0]["text"]
    assert not story["steps"][0]["followed"]
    assert {p.id for p in (h.procs["init"], h.procs["shim"], h.containerd)} <= set(story["people"])


def test_who_was_not_killed_has_no_story(tmp_path: Path) -> None:
    opened = open_capture(lives.life().stream.write(tmp_path / "x.rtrace"))
    assert choose_targets(build_report(opened)) == []


def test_lanes_are_grouped_and_everybody_has_one(tmp_path: Path) -> None:
    h = incidents.recycled()
    report = build_report(open_capture(h.stream.write(tmp_path / "x.rtrace")))
    groups = build_groups(report)
    assert [g["title"] for g in groups][:2] == ["init, daemons", "container shop"]
    assert "unit cleanup.service" in [g["title"] for g in groups]
    lanes = [id_ for group in groups for id_, _ in group["lanes"]]
    assert sorted(lanes) == sorted(p["id"] for p in report["processes"])
    depth = dict(groups[1]["lanes"])
    assert depth[h.procs["shim"].id] == depth[h.procs["starter"].id] + 1


def test_people_who_started_each_other_have_lanes_too(tmp_path: Path) -> None:
    report = build_report(open_capture(lives.life().stream.write(tmp_path / "x.rtrace")))
    first, second = report["processes"][-2:]
    first["forker"], second["forker"] = second["id"], first["id"]
    lanes = [id_ for group in build_groups(report) for id_, _ in group["lanes"]]
    assert sorted(lanes) == sorted(p["id"] for p in report["processes"])
