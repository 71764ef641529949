"""What is done with a file of a stranger, and what must hold whatever is in it.

Every command that opens one is here: report in every format, why, compare, dump, ticket, a folder
of segments and its recovery. A finding is any exception but the project's own errors, more time or
memory than allowed, and anything in what was written that a capture must not be able to put there.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import json
import os
import shutil
import signal
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click
from markdown_it import MarkdownIt
from pyarrow.parquet import read_table

from analysis.compare.comparison import build_comparison
from analysis.compare.measure import measure
from analysis.compare.render_markdown import render_comparison_markdown
from analysis.compare.render_text import render_comparison
from analysis.export.narrow import narrow
from analysis.html.compare_page import render_comparison_page
from analysis.html.report_page import render_report_page
from analysis.html.stories import choose_targets
from analysis.model import Capture, open_capture
from analysis.redaction.rewrite import observe, rewrite
from analysis.redaction.scrubber import Scrubber
from analysis.render_markdown import render_markdown
from analysis.render_text import render_text
from analysis.render_why import render_why
from analysis.render_why_markdown import render_why_markdown
from analysis.report import build_report
from analysis.report_tables import REPORT_TABLES, WHY_TABLES, render_report_csv, render_why_csv
from analysis.ticket.build import CAPTURE, build_ticket
from analysis.ticket.choose import Wanted
from analysis.why.answer import build_why
from tests import found, incidents
from tests.fuzz.parts import ZIP, Chunk, decode, encode, split, with_planted
from tests.secrets import forms
from tests.streams import Stream
from tests.unit.test_html import Elements
from tracer.capture_format import DETAILS, EVENTS
from tracer.capture_reader import CaptureReader
from tracer.cli.dump import dump
from tracer.cli.export import export
from tracer.errors import RtraceError
from tracer.recovery import take_directory
from tracer.segments import segment_name, segments_path
from tracer.ticket_file import write_ticket

Json = dict[str, Any]

CPU_LIMIT_S = 2.0
"""CPU time for all that one target does with one file. CPU, for the machine may be busy; and as
neighbours on a core cost CPU time too, what takes longer is tried again, and the least counts."""

_TRIES = 3

MEMORY_LIMIT = 500 << 20
"""Bytes of a process that does nothing but one target with one file."""

_FORMS = ("jsonl", "perfetto", "csv", "parquet")
_WHYS = 3
_SEEN = ("html_block", "html_inline", "link_open", "image", "s_open", "fence")
_MARKDOWN = MarkdownIt("gfm-like", {"html": True})
_SECRETS = ("Pl4nted!zQ7vX2", "wK9-plant-Tr33s", "c3cr3tPl4ntedValue77")


class Finding(Exception):
    """What a file has shown. The text begins with the target's name."""


class _TooLong(Finding):
    """It took more CPU time than it may."""


@dataclass
class Costs:
    """By target how often it ran, its CPU seconds, in all and at most, and the bytes of a process
    that does only that, at most; how large this process has become."""

    times: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)
    peak_bytes: int = 0


class Bench:
    """Runs targets on files.

    Args:
        folder: where files are made; nothing stays there.
        memory: bytes that a process with one target and file may have, None: not looked at.
        cpu_s: CPU seconds that a target may take.
    """

    def __init__(
        self, folder: Path, memory: int | None = MEMORY_LIMIT, cpu_s: float = CPU_LIMIT_S
    ) -> None:
        self.folder, self.memory, self.cpu_s = folder, memory, cpu_s
        self.costs = Costs()
        self._path = folder / "x.rtrace"
        self._own_bytes = 0

    def warm_up(self) -> None:
        """Runs everything once: what that imports, and what it takes, is no target's."""
        self.run(Path(_calm()).read_bytes(), everything=True)
        self.costs = Costs()
        _forget_peak()
        self._own_bytes = _peak_bytes()

    def run(self, data: bytes, *, everything: bool = False) -> None:
        """All that is cheap, and of what is dear a part that follows from the bytes.

        Args:
            everything: leave nothing out.

        Raises:
            Finding: something is wrong.
        """
        chosen = zlib.crc32(data)
        self._path.write_bytes(data)
        self._run("dump", self._dump)
        report = self._run("report", self._report)
        if report is not None:
            self._run("texts", lambda: check_texts(*report))
            if everything or chosen % 4 == 0:
                self._run("full", lambda: check_full(*report))
            if everything or chosen % 8 == 1:
                self._run("schema", lambda: check_schema(*report))
            if everything or chosen % 16 == 2:
                self._run("html", lambda: check_page(*report))
            if everything or chosen % 16 == 3:
                self._run("compare", lambda: check_comparison(str(self._path)))
            if everything or chosen % 64 == 5:
                self._run("ticket", lambda: self._ticket(data))
            for i, form in enumerate(_FORMS):
                if everything or chosen % 32 == 4 + 8 * i:
                    self._run(form, lambda form=form: self._export(form))  # type: ignore[misc]
            if everything or chosen % 16 == 6:
                self._run("redaction", lambda: self._redact(data))
            if everything or chosen % 16 == 7:
                self._run("narrowed", self._narrow)
        segments = split(data) if not data.startswith(ZIP) else []
        if len(segments) > 1:
            self._run("segments", lambda: self._segments(segments))

    def _run(self, name: str, target: Callable[[], Any]) -> Any:
        for _ in range(_TRIES - 1):
            with contextlib.suppress(_TooLong):
                return self._run_once(name, target)
        return self._run_once(name, target)

    def _run_once(self, name: str, target: Callable[[], Any]) -> Any:
        _forget_peak()
        begun, had = time.process_time(), _peak_bytes()
        # Of CPU, and ten times what is allowed: whatever runs on for ever is found too.
        signal.signal(signal.SIGPROF, _hang)
        signal.setitimer(signal.ITIMER_PROF, 10 * self.cpu_s)
        try:
            return target()
        except RtraceError as error:
            if "\n" in str(error):
                raise Finding(f"{name}: an error of several lines: {error}") from error
            return None
        except Finding as finding:
            raise Finding(f"{name}: {finding}") from None
        except Exception as error:
            raise Finding(f"{name}: {type(error).__name__}: {error}") from error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._count(name, time.process_time() - begun, had)

    def _count(self, name: str, spent: float, had: int) -> None:
        costs = self.costs
        costs.times[name] += 1
        costs.spent[name] += spent
        # This process also has libFuzzer's files and tables, and what the allocator keeps.
        peak = _peak_bytes()
        alone = self._own_bytes + peak - had
        costs.peak_bytes = max(peak, costs.peak_bytes)
        costs.largest[name] = max(alone, costs.largest.get(name, 0))
        if spent > self.cpu_s:
            raise _TooLong(f"{name}: it took {spent:.1f} s")
        costs.slowest[name] = max(spent, costs.slowest.get(name, 0.0))
        if self.memory is not None and alone > self.memory:
            raise Finding(f"{name}: a process would grow to {alone >> 20} MiB")

    # --- targets -------------------------------------------------------------------------------

    def _dump(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), click.Context(dump):
            dump.callback(str(self._path))  # type: ignore[misc]
        check_lines("dump", out.getvalue())

    def _export(self, form: str) -> None:
        """What others read can be read, and holds nothing that a spreadsheet computes."""
        path = self.folder / "x.export"
        try:
            export.callback(  # type: ignore[misc]
                str(self._path), form, str(path), False, (), None, None, None
            )
            if form == "jsonl":
                for line in path.read_text(encoding="utf-8").splitlines():
                    check_lines("jsonl", line)
                    json.loads(line)
            elif form == "csv":
                for table in path.iterdir():
                    check_csv(table.read_text(encoding="utf-8"))
            elif form == "parquet":
                for table in path.iterdir():
                    read_table(table).validate(full=True)
        finally:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _report(self) -> tuple[Capture, Json]:
        capture = open_capture(self._path)
        report = build_report(capture)
        check_report(capture, report)
        return capture, report

    def _ticket(self, data: bytes) -> None:
        """Secrets that are put into the file are in no byte of its ticket, which can be read."""
        self._plant(data)
        made = build_ticket(
            str(self._path), str(self.folder), lambda _: Wanted(), redact="default", limit=9 << 20
        )
        archive = self.folder / "x.zip"
        try:
            write_ticket(str(archive), made.files, force=True)
            for name, path in made.files.items():
                if name == CAPTURE:
                    check_redacted(path)
                else:
                    check_no_secret(name, Path(path).read_bytes())
            build_report(open_capture(archive))
        finally:
            for path in (archive, *map(Path, made.files.values())):
                path.unlink(missing_ok=True)

    def _redact(self, data: bytes) -> None:
        """The same of the capture alone, names of containers hidden too."""
        self._plant(data)
        scrubber = Scrubber(strict=True)
        target = self.folder / "redacted.rtrace"
        with CaptureReader(self._path) as reader, open(target, "wb") as file:
            observe(reader, scrubber)
            rewrite(reader, file, scrubber=scrubber)
        check_redacted(target)
        build_report(open_capture(target))

    def _narrow(self) -> None:
        """Of a container, or of the second half, as `--container` and `--since` have it."""
        opened = open_capture(self._path)
        found = [c.id for c in opened.container_list]
        half_s = (opened.table.last_ns - opened.table.started_ns) / 2e9
        target = self.folder / "narrowed.rtrace"
        part = (found[0], None, None) if found else (None, half_s, None)
        try:
            narrow(str(self._path), str(target), *part)
            narrowed = open_capture(target)
            build_report(narrowed)
            if found and found[0] not in {c.id for c in narrowed.container_list}:
                raise Finding("the container that it is about is gone")
        finally:
            target.unlink(missing_ok=True)

    def _plant(self, data: bytes) -> None:
        if not data.startswith(ZIP):
            self._path.write_bytes(encode(with_planted(decode(data), planted())))

    def _segments(self, contents: list[bytes]) -> None:
        """Captures behind each other as a folder that a recorder left: read, and recovered."""
        capture = self.folder / "r.rtrace"
        folder = Path(segments_path(str(capture)))
        folder.mkdir(mode=0o700)
        said: list[str] = []
        try:
            for number, content in enumerate(contents, 1):
                (folder / segment_name(number)).write_bytes(content)
            events = self._read_segments(folder)
            take_directory(str(capture), said.append).remove()
            for saved in self.folder.glob("r-*.rtrace"):
                with CaptureReader(saved) as reader:
                    kept = sum(len(c) for kind, c in reader.chunks() if kind == EVENTS)
                if events is not None and kept < events:
                    raise Finding(f"recovery kept {kept} bytes of events of {events}")
        finally:
            for path in (*folder.glob("*"), *self.folder.glob("r-*.rtrace")):
                path.unlink()
            if folder.exists():
                folder.rmdir()

    def _read_segments(self, folder: Path) -> int | None:
        try:
            build_report(open_capture(folder))
            with CaptureReader(folder) as reader:
                return sum(len(content) for kind, content in reader.chunks() if kind == EVENTS)
        except RtraceError:
            return None


def _forget_peak() -> None:
    """What the process needed before, to make the file, is not the target's (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """Most memory that the process has had since then."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _hang(*_: object) -> None:
    raise TimeoutError("it runs on and on")


@cache
def planted() -> Chunk:
    """Details of commands with secrets, where nobody could take them for something else."""
    stream = Stream()
    shell = stream.process("bash", tgid=900)
    for word in _SECRETS:
        process = stream.fork(shell)
        stream.exec(process, "/usr/bin/mysql", ["mysql", f"--password={word}", "shop"])
    [content] = [content for kind, content in stream.chunks() if kind == DETAILS]
    return Chunk(DETAILS, content)


# --- what must hold ----------------------------------------------------------------------------


def check_report(capture: Capture, report: Json) -> None:
    """What is true of any report, whatever the events say."""
    text = json.dumps(report, allow_nan=False)
    if json.loads(text) != report:
        raise Finding("JSON does not come back as it was")
    processes = {process["id"]: process for process in report["processes"]}
    if len(processes) != len(report["processes"]):
        raise Finding("one process has two entries")
    for id_, process in processes.items():
        for interval in process["parents"]:
            if interval["parent"] == id_:
                raise Finding(f"{id_} is its own parent")
            if interval["until_ns"] is not None and interval["until_ns"] < interval["from_ns"]:
                raise Finding(f"{id_} has a parent until before it had it")
    for reparent in report["reparents"]:
        # Confirmed is what was observed: so somebody is named.
        if reparent["certainty"] == "confirmed" and reparent["to"] is None:
            raise Finding(f"a confirmed reparent to nobody: {reparent}")
    for one in report["findings"]:
        if not set(one["processes"]) <= set(processes):
            raise Finding(f"a finding names who is not listed: {one['kind']}")
        for line in (one["text"], one["next"]):
            check_lines("finding", line)
        sure = one["certainty"] == "confirmed" and one["kind"] != "losses-touch"
        if sure and not one["evidence"]:
            raise Finding(f"a finding is confirmed by nothing: {one['kind']}")


def check_schema(capture: Capture, report: Json) -> None:
    errors = list(found.validator().iter_errors(report))
    if errors:
        raise Finding(
            f"JSON is not of its schema: {errors[0].json_path}: {errors[0].message[:200]}"
        )


def check_texts(capture: Capture, report: Json) -> None:
    """Text, Markdown and CSV of the report, and of why everybody ended."""
    check_lines("text", render_text(report, width=80, color=False))
    check_markdown(render_markdown(report))
    for name in REPORT_TABLES:
        check_csv(render_report_csv(report, name))
    wanted = [c.id for c in capture.container_list][:_WHYS] + choose_targets(report)[:_WHYS]
    for target in wanted:
        why = _why(capture, target)
        if why is None:
            continue
        check_lines("why", render_why(why, width=80, color=False, full=True))
        check_markdown(render_why_markdown(why))
        for name in WHY_TABLES:
            check_csv(render_why_csv(why, name))


def check_full(capture: Capture, report: Json) -> None:
    """`report --all`."""
    full = build_report(capture, full=True)
    check_report(capture, full)
    check_lines("text", render_text(full, width=120, color=False, full=True, times="both"))


def _why(capture: Capture, target: str) -> Json | None:
    try:
        why: Json = build_why(capture, target)
    except RtraceError as error:  # an id that fits several
        check_lines("error of why", str(error))
        return None
    json.dumps(why, allow_nan=False)
    return why


def check_page(capture: Capture, report: Json) -> None:
    whys = [build_why(capture, id_) for id_ in choose_targets(report)]
    check_html(render_report_page(report, whys))


def check_comparison(path: str) -> None:
    measured = measure(path, "a")
    document = build_comparison([measured, measure(_calm(), "b")], [], None)
    json.dumps(document, allow_nan=False)
    check_lines("compare", render_comparison(document, width=80, color=False, full=True))
    check_markdown(render_comparison_markdown(document))
    check_html(render_comparison_page(document))


def check_redacted(path: str | os.PathLike[str]) -> None:
    """No secret is in a capture's chunks."""
    with CaptureReader(path) as reader:
        check_no_secret("header", json.dumps(reader.header).encode())
        for kind, content in reader.chunks():
            check_no_secret(kind.decode("ascii", "replace"), content)
        if reader.damage and "trailer" not in reader.damage:
            raise Finding(f"what was written is damaged: {reader.damage}")


def check_no_secret(where: str, content: bytes) -> None:
    for secret in _SECRETS:
        if any(form in content for form in forms(secret)):
            raise Finding(f"{where} has the secret {secret}")


def check_lines(what: str, text: str) -> None:
    """Nothing that a terminal would obey."""
    for line in text.split("\n"):
        if not line.isprintable():
            bad = next(c for c in line if not c.isprintable())
            raise Finding(f"{what}: {bad!r} in {line[:200]!r}")


def check_markdown(text: str) -> None:
    """Nothing but what the renderers write themselves: no link, no image, no HTML."""
    for token in _tokens(text):
        if token.type in _SEEN:
            raise Finding(f"Markdown: a {token.type}: {token.content[:200]!r}")


def _tokens(text: str) -> Iterator[Any]:
    for token in _MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def check_csv(text: str) -> None:
    """Rows of one length, and no cell that a spreadsheet would compute."""
    csv.field_size_limit(1 << 20)  # a text of 64 KiB, of whose bytes each may take four characters
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    for row in rows:
        if len(row) != len(header):
            raise Finding(f"CSV: {len(row)} cells below {len(header)}: {row}")
        _check_cells(row)


def _check_cells(row: Iterable[str]) -> None:
    for cell in row:
        check_lines("CSV", cell)
        bare = cell.lstrip(" \t\"'")
        if bare[:1] in ("=", "@", "\uff1d") and not cell.startswith("'"):
            raise Finding(f"CSV: a formula: {cell[:200]!r}")
        if bare[:1] in ("+", "-") and not cell.startswith("'") and not _is_number(cell):
            raise Finding(f"CSV: a formula: {cell[:200]!r}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_html(page: str) -> None:
    """Only elements and attributes that pages of harmless captures have, too."""
    tags, names = _usual()
    elements = Elements(page)
    for tag, attributes in elements.tags:
        if tag not in tags:
            raise Finding(f"HTML: an element {tag}")
        if strange := set(attributes) - names:
            raise Finding(f"HTML: attributes {strange} of {tag}")
        if not (attributes.get("href") or "#").startswith("#"):
            raise Finding(f"HTML: a link to {attributes['href']}")
    data = elements.raw["script"][0]
    json.loads(data)


@cache
def _usual() -> tuple[frozenset[str], frozenset[str]]:
    capture = open_capture(_calm())
    report = build_report(capture)
    pages = [render_report_page(report, [build_why(capture, i) for i in choose_targets(report)])]
    measured = [measure(_calm(), label) for label in "ab"]
    pages.append(render_comparison_page(build_comparison(measured, [], None)))
    found_tags = [pair for page in pages for pair in Elements(page).tags]
    return (
        frozenset(tag for tag, _ in found_tags),
        frozenset(name for _, attributes in found_tags for name in attributes),
    )


@cache
def _calm() -> str:
    """A harmless capture that has everything, to hold others against."""
    file, path = tempfile.mkstemp(suffix=".rtrace")
    os.close(file)
    atexit.register(os.unlink, path)
    incidents.recycled().stream.write(path)
    return path
