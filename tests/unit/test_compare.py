"""Captures side by side: groups, matrix, latencies, trees, and every format."""

from __future__ import annotations

import csv
import io
import json
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from analysis.compare import words
from analysis.compare.comparison import build_comparison
from analysis.compare.gather import find_sources, measure_all
from analysis.compare.latencies import FEW, LATENCIES, ratio_to, shown_values, summarize
from analysis.compare.render_markdown import render_comparison_markdown
from analysis.compare.render_text import render_comparison
from analysis.compare.tables import render_comparison_csv
from analysis.compare.words import group_words
from analysis.text_safety import width as columns_of
from tests import lives
from tests.found import MS, SECOND
from tests.lives import Host
from tests.unit import test_behaviours as scenes
from tracer.cli import rtrace
from tracer.cli.compare import _TABLES
from tracer.errors import RtraceError, UsageError


@cache
def validator() -> jsonschema.Draft202012Validator:
    text = (resources.files("analysis") / "schemas" / "compare.schema.json").read_text()
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def shim_killed(
    path: Path,
    *,
    managed: bool = False,
    shim: str = "v2",
    docker: str = "20.10.5",
    live: bool = False,
) -> Path:
    """A shim is killed, its container is recycled (live: it lives on)."""
    h = lives.host(managed=managed)
    fact: dict[str, Any] = {"name": "docker", "version": docker, "live_restore": False}
    h.stream.fact("runtime", source="GET /version", **fact)
    p = lives.begin(h, shim=shim)
    scenes.kill(h, p["shim"], h.shell)
    if not live:
        scenes.recycle(h)
    return written(h, path)


def written(h: Host, path: Path) -> Path:
    h.stream.wait(6 * SECOND)
    h.stream.snapshot("end")
    path.parent.mkdir(parents=True, exist_ok=True)
    return h.stream.write(path)


def compared(*paths: Path | str, baseline: str | None = None, jobs: int = 1) -> Any:
    measured, skipped = measure_all(find_sources([str(p) for p in paths]), jobs=jobs)
    document = build_comparison(measured, skipped, baseline)
    validator().validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    for name in _TABLES:
        rows = list(csv.DictReader(io.StringIO(render_comparison_csv(document, name))))
        assert all(None not in row for row in rows)
    for width in (60, 80, 130):
        text = render_comparison(document, width=width, color=False, full=width == 130)
        assert all(line.isprintable() for line in text.splitlines())
        assert max(map(columns_of, text.splitlines())) <= width
    render_comparison_markdown(document)
    return document


def row(document: Any, id_: str) -> Any:
    [found] = [b for b in document["behaviours"] if b["id"] == id_]
    return {cell["group"]: cell for cell in found["groups"]}


def run(*args: Path | str) -> Result:
    return CliRunner().invoke(rtrace, ["compare", *map(str, args)])


# --- groups ------------------------------------------------------------------------------------


def test_groups_by_version_and_topology(tmp_path: Path) -> None:
    shim_killed(tmp_path / "a" / "1.rtrace")
    shim_killed(tmp_path / "a" / "2.rtrace")
    shim_killed(tmp_path / "a" / "3.rtrace", managed=True, shim="v1")
    shim_killed(tmp_path / "b" / "4.rtrace", docker="26.1.5")
    document = compared(tmp_path)
    assert [(g["name"], g["captures"]) for g in document["groups"]] == [
        ("docker 20.10.5, containerd is a service, shim v2", [0, 1]),
        ("docker 20.10.5, dockerd starts containerd, shim v1", [2]),
        ("docker 26.1.5, containerd is a service, shim v2", [3]),
    ]
    assert document["baseline"] == "1"
    assert document["groups"][0]["environment"]["kernel"] == ["6.1.0-test"]
    assert [c["group"] for c in document["captures"]] == ["1", "1", "2", "3"]


def test_labels(tmp_path: Path) -> None:
    first, second = shim_killed(tmp_path / "a.rtrace"), shim_killed(tmp_path / "b.rtrace")
    document = compared(f"before={first}", f"after={second}", baseline="after")
    assert [g["label"] for g in document["groups"]] == ["before", "after"]
    assert document["baseline"] == "2"
    assert document["changed"] == []
    odd = shim_killed(tmp_path / "x=y.rtrace")
    assert compared(odd)["groups"][0]["label"] is None


def test_a_capture_given_twice_counts_once(tmp_path: Path) -> None:
    path = shim_killed(tmp_path / "a.rtrace")
    assert len(compared(path, tmp_path, f"x={path}")["captures"]) == 1


@pytest.mark.parametrize(
    "wanted", ["26.1.5", "2", "docker 26.1.5, containerd is a service, shim v2"]
)
def test_a_baseline_by_version_number_or_name(wanted: str, tmp_path: Path) -> None:
    shim_killed(tmp_path / "a.rtrace")
    shim_killed(tmp_path / "b.rtrace", docker="26.1.5")
    assert compared(tmp_path, baseline=wanted)["baseline"] == "2"


def test_no_such_baseline(tmp_path: Path) -> None:
    shim_killed(tmp_path / "a.rtrace")
    with pytest.raises(UsageError, match=r"no baseline 'x': .* there are 1: docker 20\.10\.5"):
        compared(tmp_path, baseline="x")
    shim_killed(tmp_path / "b.rtrace", shim="v1")
    with pytest.raises(UsageError, match=r"baseline by '20\.10\.5': it fits 1: .*; 2: "):
        compared(tmp_path, baseline="20.10.5")


def test_several_at_a_time_give_what_one_gives(tmp_path: Path) -> None:
    for number in range(4):
        shim_killed(tmp_path / f"{number}.rtrace", managed=bool(number % 2))
    assert compared(tmp_path, jobs=3) == compared(tmp_path, jobs=1)


# --- what cannot be read -----------------------------------------------------------------------


def test_one_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    good, bad = shim_killed(tmp_path / "a.rtrace"), tmp_path / "b.rtrace"
    bad.write_bytes(b"nothing of the kind")
    document = compared(good, bad)
    assert [s["path"] for s in document["skipped"]] == [str(bad)]
    result = run(good, bad)
    assert result.exit_code == 0
    assert "left out: cannot read" in result.output
    with pytest.raises(RtraceError, match=r"cannot read .*b\.rtrace"):
        rtrace.main(["compare", str(good), str(bad), "--fail-on-change"], standalone_mode=False)
    with pytest.raises(RtraceError, match=r"cannot read .*b\.rtrace"):
        rtrace.main(["compare", str(bad)], standalone_mode=False)


def test_a_folder_without_captures_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \.rtrace file is in it"):
        find_sources([str(tmp_path)])
    with pytest.raises(UsageError, match="no such file"):
        find_sources([str(tmp_path / "x")])


def test_a_cut_capture_counts_and_is_named(tmp_path: Path) -> None:
    path = shim_killed(tmp_path / "a.rtrace")
    path.write_bytes(path.read_bytes()[:-200])
    document = compared(path)
    assert document["captures"][0]["complete"] is False
    assert "cut" in document["captures"][0]["doubts"][0]
    text = render_comparison(document, width=80, color=False)
    assert "the capture is cut" in " ".join(text.split())


# --- behaviours --------------------------------------------------------------------------------


def test_the_matrix_and_what_differs(tmp_path: Path) -> None:
    old = shim_killed(tmp_path / "old.rtrace")
    new = shim_killed(tmp_path / "new.rtrace", docker="26.1.5", live=True)
    document = compared(old, new)
    cells = row(document, "shim-exit")
    assert [cells[id_]["verdict"] for id_ in "12"] == ["holds", "contradicted"]
    [outcome] = cells["1"]["outcomes"]
    assert outcome["cause"] == "killed"
    assert outcome["container"] == "killed by runc (reparented from shim to init before)"
    assert outcome["count"] == 1
    assert outcome["evidence"]
    [difference] = cells["2"]["differences"]
    assert document["changed"] == [f"shim-exit: [2] {difference}"]
    assert row(document, "start")["2"]["comparable"]
    assert not row(document, "exec")["2"]["comparable"]
    text = render_comparison(document, width=80, color=False)
    assert "contradicted*" in text
    assert "DIFFERENT FROM THE BASELINE: 1" in text


def test_groups_that_are_alike_are_told_together(tmp_path: Path) -> None:
    old = [f"{n}={shim_killed(tmp_path / f'{n}.rtrace')}" for n in "ab"]
    new = [f"{n}={shim_killed(tmp_path / f'{n}.rtrace', live=True)}" for n in "cdefghij"]
    document = compared(*old, *new)
    assert len(document["changed"]) == 1
    assert document["changed"][0].startswith("shim-exit: [3-10] shim ")
    text = render_comparison(document, width=80, color=False)
    assert "shim-exit: holds [1-2], contradicted* [3-10]" in text


def test_ids_of_groups() -> None:
    assert group_words(["1"]) == "[1]"
    assert group_words(["1", "2", "4", "9", "10", "11"]) == "[1-2, 4, 9-11]"


def test_fail_on_change(tmp_path: Path) -> None:
    old, same = shim_killed(tmp_path / "old.rtrace"), shim_killed(tmp_path / "same.rtrace")
    new = shim_killed(tmp_path / "new.rtrace", live=True)
    assert run(f"a={old}", f"b={same}", "--fail-on-change").exit_code == 0
    assert run(f"a={old}", f"b={new}", "--fail-on-change").exit_code == 3
    assert run(f"a={old}", f"b={new}").exit_code == 0


def test_what_did_not_happen_in_both_is_no_change(tmp_path: Path) -> None:
    """GIVEN a shim's death here and a container's exit there THEN nothing differs."""
    old = shim_killed(tmp_path / "old.rtrace")
    h = lives.host(managed=False)
    h.stream.fact("runtime", name="docker", version="26", live_restore=False)
    p = lives.begin(h)
    h.stream.die(p["init"])
    scenes.clean_up(h, p["shim"])
    document = compared(old, written(h, tmp_path / "new.rtrace"))
    assert document["changed"] == []
    assert not row(document, "shim-exit")["2"]["comparable"]


def test_a_death_for_another_cause_is_no_change(tmp_path: Path) -> None:
    """GIVEN containerd was killed here and exited there THEN they are not held together."""
    paths = []
    for killed in (True, False):
        h = lives.host(managed=False)
        lives.begin(h, shim="v1")
        if killed:
            scenes.kill(h, h.containerd, h.shell)
        else:
            h.stream.die(h.containerd)
        paths.append(written(h, tmp_path / f"{killed}.rtrace"))
    document = compared(f"a={paths[0]}", f"b={paths[1]}")
    assert not row(document, "containerd-exit")["2"]["comparable"]


# --- latencies ---------------------------------------------------------------------------------


def test_of_very_many_values_quantiles_stand_for_all() -> None:
    assert shown_values([3, 1, 2]) == [1, 2, 3]
    many = shown_values(list(range(10_000, 0, -1)))
    assert len(many) == 200
    assert (many[0], many[-1]) == (1, 10_000)
    assert many == sorted(many)


def test_statistics_and_too_few() -> None:
    assert summarize([], None).median_ns is None
    few = summarize([1, 2, 3, 4], [1] * 9)
    assert (few.n, few.median_ns, few.max_ns, few.p90_ns, few.ratio) == (4, 2, 4, None, None)
    assert summarize([1] * 9, [1] * 4).ratio is None
    many = summarize([20, 40, 60, 80, 100], [10, 20, 30, 40, 50])
    assert many.n == FEW
    assert many.ratio == pytest.approx(2.0)
    assert many.low is not None
    assert many.high is not None
    assert many.low < 1 < 2 < many.high  # five values of each say little


def test_the_interval_is_that_of_the_rank_sum_test() -> None:
    """Tables of Mann and Whitney: for 5 and 5 values, three ratios lie outside on either side."""
    ours, theirs = 1000 * np.array([1.0, 2, 4, 8, 16]), 1000 * np.array([1.0, 3, 9, 27, 81])
    ratios = sorted(a / b for a in ours for b in theirs)
    estimate, low, high = ratio_to(ours, theirs)
    assert estimate == pytest.approx(ratios[12])
    assert (low, high) == (pytest.approx(ratios[2]), pytest.approx(ratios[-3]))


def test_the_interval_covers_what_it_says() -> None:
    chance = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        ours, theirs = chance.lognormal(11, 1, 12), chance.lognormal(10, 1, 9)
        _, low, high = ratio_to(ours, theirs)
        hits += low <= np.e <= high
    assert 370 <= hits <= 397


def test_many_values_take_no_more_room() -> None:
    values = np.arange(1.0, 200_000.0)
    estimate, low, high = ratio_to(values * 3, values)
    assert low < estimate < high
    assert estimate == pytest.approx(3, rel=0.01)


def test_latencies_of_lives(tmp_path: Path) -> None:
    for number in range(FEW):
        shim_killed(tmp_path / f"old{number}.rtrace")
        shim_killed(tmp_path / f"new{number}.rtrace", docker="26.1.5")
    document = compared(tmp_path)
    found = {latency["id"]: latency for latency in document["latencies"]}
    assert list(found) == list(LATENCIES)
    for id_ in ("run", "shim", "create", "start", "adoption", "recycling"):
        old, new = found[id_]["groups"]
        assert (old["n"], new["n"]) == (FEW, FEW), id_
        assert (old["ratio"], new["ratio"]) == (None, pytest.approx(1.0)), id_
        assert not new["too_few"]
    assert found["recycling"]["groups"][0]["median_ns"] >= 6 * MS
    assert found["restart"]["groups"][0]["n"] == 0


# --- trees -------------------------------------------------------------------------------------


def test_the_trees_of_both_shims(tmp_path: Path) -> None:
    old = shim_killed(tmp_path / "old.rtrace", managed=True, shim="v1")
    new = shim_killed(tmp_path / "new.rtrace", docker="26.1.5")
    tree = compared(old, new)["tree"]
    places = {
        words.place_words(place): [cell["count"] for cell in place["groups"]]
        for place in tree["places"]
    }
    assert places["shim-v1: child of containerd-managed"] == [1, 0]
    assert places["shim-v2: child of shim-start, then of init (rule: init)"] == [0, 1]
    assert places["containerd-managed: child of dockerd"] == [1, 0]
    adoptions = {words.adoption_words(a) for a in tree["adoptions"]}
    assert "shim-v2 went from shim-start to init (rule: init)" in adoptions
    assert "container-init went from runc to shim-v1 (rule: subreaper)" in adoptions


# --- hostile names, and the command line -------------------------------------------------------


def test_nothing_of_a_capture_acts(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    evil = "=cmd|' /C calc'!A0 <script>@octocat[x](y)|`\x1b[2J\n# t"
    h.stream.fact("runtime", name="docker", version=evil, live_restore=False)
    p = lives.begin(h, name=evil, client=None)
    h.stream.comm(h.shell, "=`|<b>@o#1")
    scenes.kill(h, p["shim"], h.shell)
    document = compared(f"@x={written(h, tmp_path / 'a.rtrace')}")
    markdown = render_comparison_markdown(document)
    unquoted = re.sub(r"(`+) ?.*?\1", "", re.sub(r"\\.", "", markdown))
    assert "<" not in unquoted
    assert not re.search(r"@\w|#\d", unquoted)
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (5, 3, 6, 8), line
    for name in _TABLES:
        for cells in csv.reader(io.StringIO(render_comparison_csv(document, name))):
            assert not any(cell[:1] in "=+@|-" for cell in cells if cell[:2] not in ("", "-"))


def test_formats_and_tables(tmp_path: Path) -> None:
    path = shim_killed(tmp_path / "a.rtrace")
    validator().validate(json.loads(run(path, "--format", "json").output))
    assert run(path, "--format", "markdown").output.startswith("# Comparison of captures\n")
    assert run(path, "--format", "csv").output.startswith('"behaviour","group","group_name"')
    latencies = run(path, "--format", "csv", "--table", "latencies").output
    assert latencies.startswith('"latency","group"')
    assert isinstance(run(path, "--table", "latencies").exception, UsageError)
    assert _TABLES == words.TABLES
    out = tmp_path / "out.md"
    assert run(path, "--format", "markdown", "-o", out).exit_code == 0
    assert out.read_text().startswith("# Comparison")
    assert isinstance(run(path, "-o", out).exception, RtraceError)


def test_every_key_is_documented() -> None:
    """docs/compare-json.md names every key and every token of the schema."""
    text = (Path(__file__).parents[2] / "docs" / "compare-json.md").read_text()
    named = set(re.findall(r"`\"?([\w-]+)\"?", text))
    assert {word for word in _words(validator().schema) if word not in named} == set()
    assert set(LATENCIES) <= named


def _words(schema: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {})) | {str(w) for w in schema.get("enum", [])}
        for value in schema.values():
            found |= _words(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= _words(value)
    return found
