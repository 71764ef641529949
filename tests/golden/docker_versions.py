"""Makes docs/docker-versions.md of the golden captures. Nothing in it is written by hand that
they could contradict: its sentences are checked against them, or made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.behaviours.behaviour import QUESTIONS, Question
from analysis.compare.latencies import FEW, LATENCIES, summarize
from analysis.compare.measure import Answer, Measured, Outcomes
from analysis.compare.words import outcome_words
from analysis.markdown import code, escape, table
from analysis.text_layout import seconds, span
from tests.golden.captures import Golden, Json

DOCUMENT = Path(__file__).parents[2] / "docs" / "docker-versions.md"
_HEAD = Path(__file__).parent / "docker_versions_head.md"
README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- docker versions: made by tests.golden -->", "<!-- end -->"

# What was done, and the question that it answers.
_SCENARIOS = {
    "start": ("start", "a container is started"),
    "dockerd-kill": ("dockerd-exit", "dockerd is killed (SIGKILL) and stays away"),
    "dockerd-kill-return": ("dockerd-exit", "dockerd is killed (SIGKILL) and comes back"),
    "dockerd-restart": ("dockerd-exit", "dockerd is restarted (systemctl)"),
    "dockerd-restart-lr": ("dockerd-exit", "dockerd is restarted, with live-restore"),
    "containerd-kill": ("containerd-exit", "containerd is killed (SIGKILL)"),
    "shim-kill": ("shim-exit", "the shim is killed (SIGKILL)"),
    "shim-kill-containerd-down": (
        "shim-exit",
        "the shim is killed while containerd is down, which then comes back",
    ),
    "container-exit": ("container-exit", "process 1 exits"),
    "container-kill": ("container-exit", "process 1 is killed (SIGKILL)"),
    "restart": ("restart", "docker restart"),
    "exec": ("exec", "docker exec"),
    "orphans-host": ("reap", "process 1 leaves others, --pid=host"),
}
_TOPOLOGIES = {
    "A": ("containerd is a service", "v2", "today's default"),
    "B": ("dockerd starts containerd", "v2", "the docker 18 shape, with today's shim"),
    "C": ("dockerd starts containerd", "v1", "the docker 18 shape: docker 1.12 to 18.06"),
    "D": ("containerd is a service", "v1", "the docker 19 shape: docker 18.09 and 19.03"),
}
_WORDS = {"holds": "yes", "contradicted": "**no**", "not-observed": "?"}


@dataclass(frozen=True)
class Told:
    """What a golden capture says."""

    golden: Golden

    @property
    def measured(self) -> Measured:
        return self.golden.measured

    @property
    def engine(self) -> str:
        """ "20.10.5 C": docker's version and the topology."""
        return f"{self.golden.witness['versions']['docker']} {self.golden.witness['topology']}"

    @property
    def shape(self) -> str:
        return self.measured.shape

    def answer(self, id_: str) -> Answer:
        return self.measured.answers[id_]

    def cite(self, first: Json) -> str:
        """The evidence of an occurrence, as `rtrace dump` shows it."""
        start = self.measured.capture["started"]["boot_ns"]
        shown = [
            f"{e['event']} of {e['id'].partition(':')[0]} at "
            f"{seconds(e['ts_ns'] - start, sign=True)}"
            for e in first["evidence"]
        ]
        return ", ".join(shown)


def build_document(golden: Iterable[Golden]) -> str:
    """The document, ended by a newline."""
    told = [Told(one) for one in golden]
    told.sort(key=lambda t: (_version(t), t.golden.name))
    parts = (_introduction, _matrix, _claims, _notes, _latencies)
    lines = [line for part in parts for line in part(told)] + _how()
    return "\n".join(lines).rstrip() + "\n"


def _version(told: Told) -> tuple[int, ...]:
    return tuple(int(part) for part in told.golden.witness["versions"]["docker"].split("."))


def _introduction(told: Sequence[Told]) -> list[str]:
    versions = {t.golden.witness["suite"]: t.golden.witness["versions"] for t in told}
    rows = [
        [suite, *(v.get(name, "") for name in ("docker", "containerd", "runc", "systemd"))]
        for suite, v in versions.items()
    ]
    topologies = [[name, *texts] for name, texts in _TOPOLOGIES.items()]
    heads = ["Debian", "docker", "containerd", "runc", "systemd"]
    return [
        _HEAD.read_text().format(
            engines="\n".join(table(heads, rows)),
            topologies="\n".join(table(["topology", "containerd", "shim", "shape"], topologies)),
        )
    ]


# --- the matrix --------------------------------------------------------------------------------


def _matrix(told: Sequence[Told]) -> list[str]:
    engines = list(dict.fromkeys(t.engine for t in sorted(told, key=lambda t: t.engine[-1])))
    by_cell = {(t.golden.scenario, t.engine): t for t in told}
    rows = []
    for scenario, (id_, done) in _SCENARIOS.items():
        cells = [by_cell.get((scenario, engine)) for engine in engines]
        words = ["" if t is None else _word(t.answer(id_)) for t in cells]
        rows.append([f"{id_}: {done}", *words])
    return [
        "## Does what was published hold?",
        "",
        "For the shape that the engine has (B and C: docker 18, A and D: docker 19). **no**: it",
        "was otherwise; ?: that could not be judged; empty: not recorded.",
        "",
        *table(["", *engines], rows),
        "",
    ]


def _word(answer: Answer) -> str:
    return _WORDS[answer.verdict] if answer.counts else ""


def build_essence(golden: Iterable[Golden]) -> str:
    """The matrix with a column a topology, for the README: all versions together."""
    told = [Told(one) for one in golden]
    rows = []
    for scenario, (id_, done) in _SCENARIOS.items():
        cells = []
        for topology in _TOPOLOGIES:
            words = {
                _word(t.answer(id_))
                for t in told
                if t.golden.scenario == scenario and t.golden.witness["topology"] == topology
            }
            cells.append(words.pop() if len(words) == 1 else "differs" if words else "")
        rows.append([done, *cells])
    heads = [
        "does it hold when",
        *(f"{texts[0]}, shim {texts[1]}" for texts in _TOPOLOGIES.values()),
    ]
    return "\n".join([BEGIN, *table(heads, rows), END])


# --- claim by claim ----------------------------------------------------------------------------


def _claims(told: Sequence[Told]) -> list[str]:
    lines = ["## Claim by claim", ""]
    for question in QUESTIONS:
        lines += [f"### {question.id}", "", f"{question.text.capitalize()}.", ""]
        for shape in ("docker-18", "docker-19"):
            mine = [t for t in told if t.shape == shape]
            lines += _claim(question, shape, mine)
    return lines


def _claim(question: Question, shape: str, told: Sequence[Told]) -> list[str]:
    """For one shape: the claim, and by what was done what the engines did."""
    name = shape.replace("-", " ")
    lines = [f"Published for {name}: *{escape(question.claim(shape))}.*", ""]
    for scenario, (id_, done) in _SCENARIOS.items():
        if id_ != question.id:
            continue
        groups: dict[tuple[str, Outcomes], list[tuple[Told, Json]]] = {}
        for t in told:
            if t.golden.scenario == scenario:
                for outcomes, first in t.answer(id_).first.items():
                    groups.setdefault((scenario, outcomes), []).append((t, first))
        for (_, outcomes), found in groups.items():
            lines += _outcome(done, outcomes, found)
    return [*lines, ""] if lines[-1] else lines


def _outcome(done: str, outcomes: Outcomes, found: list[tuple[Told, Json]]) -> list[str]:
    engines = ", ".join(dict.fromkeys(t.engine for t, _ in found))
    verdict = {"holds": "holds", "contradicted": "**does not hold**"}.get(
        outcomes.verdict, "was not judged"
    )
    words = outcome_words(
        {
            "cause": None,
            "shim": outcomes.shim or None,
            "container": outcomes.container or None,
            "process": outcomes.process or None,
        }
    )
    told, first = found[0]
    sure = "" if first["certainty"] == "confirmed" else f" ({first['certainty']})"
    return [
        f"- {done}: {verdict}{sure} on {engines}: {escape(words)}.",
        f"  In {code(told.golden.name)}: {escape(first['why'])}.",
        f"  Evidence: {told.cite(first)}.",
    ]


# --- what differs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """A sentence on engines. ``seen``: what of a capture shows it; None: it does not."""

    text: str
    seen: Callable[[Told], str | None]


def _notes(told: Sequence[Told]) -> list[str]:
    lines = ["## What differs from what was published", ""]
    for note in _DIFFERENT:
        lines += _note(note, told)
    lines += ["", "## What else the events show, and looking at /proc does not", ""]
    for note in _BESIDE:
        lines += _note(note, told)
    return [*lines, "", *_recycling(told)]


def _note(note: Note, told: Sequence[Told]) -> list[str]:
    found = [(t, seen) for t in told if (seen := note.seen(t)) is not None]
    if not found:
        return []
    engines = ", ".join(dict.fromkeys(t.engine for t, _ in found))
    t, seen = found[0]
    return [
        f"- {note.text}",
        f"  Seen on {engines}. In {code(t.golden.name)}: {seen}.",
    ]


def _why(id_: str, scenario: str, fits: Callable[[Outcomes], bool]) -> Callable[[Told], str | None]:
    """Shows an occurrence of a scenario that fits."""

    def seen(told: Told) -> str | None:
        if told.golden.scenario != scenario:
            return None
        for outcomes, first in told.answer(id_).first.items():
            if fits(outcomes):
                return escape(first["why"])
        return None

    return seen


def _dies_first(told: Told) -> str | None:
    """containerd ends before the dockerd with which it dies."""
    if told.golden.scenario != "dockerd-kill":
        return None
    ends = [
        first
        for id_ in ("containerd-exit", "dockerd-exit")
        for first in told.answer(id_).first.values()
    ]
    if len(ends) != 2 or ends[0]["ts_ns"] >= ends[1]["ts_ns"]:
        return None
    before = (ends[1]["ts_ns"] - ends[0]["ts_ns"]) / 1000
    return f"{escape(ends[0]['what'])}, {before:.0f} us before {escape(ends[1]['what'])}"


def _recycling(told: Sequence[Told]) -> list[str]:
    """How long containers lived on behind their killed shims."""
    spans: dict[str, list[int]] = {}
    for t in told:
        if t.golden.scenario == "shim-kill":
            spans.setdefault(t.engine, []).extend(t.measured.latencies["recycling"])
    rows = [
        [engine, ", ".join(f"{ns / 1e6:.1f}" for ns in found)] for engine, found in spans.items()
    ]
    return [
        "How long process 1 lived on as systemd's child when its shim had been killed, until runc",
        "delete killed it (one recording each, on a busy machine):",
        "",
        *table(["engine", "ms"], rows, "lr"),
        "",
    ]


_DIFFERENT = (
    Note(
        "A v2 shim is not taken over by anybody when dockerd or containerd ends: it is systemd's "
        "child from its start. The claim is true of v1 shims.",
        _why("containerd-exit", "containerd-kill", lambda o: o.shim == "unaffected"),
    ),
    Note(
        "Without live-restore a container does not survive a restart of dockerd: dockerd stops it "
        "before it ends.",
        _why("dockerd-exit", "dockerd-restart", lambda o: o.container.startswith("killed by runc")),
    ),
    Note(
        "A container outlives a killed dockerd only until the next one comes, which kills it, "
        "without live-restore.",
        _why(
            "dockerd-exit",
            "dockerd-kill-return",
            lambda o: o.container.startswith("killed by runc"),
        ),
    ),
    Note(
        "With containerd down nobody recycles the container of a dead shim: it lives on as "
        "systemd's child until containerd is back.",
        _why("shim-exit", "shim-kill-containerd-down", lambda o: o.container.startswith("killed")),
    ),
)
_BESIDE = (
    Note(
        "A v1 shim does not exit when its container has: containerd kills it. That it ends can be "
        "seen from /proc, not how.",
        _why("container-exit", "container-exit", lambda o: o.shim == "killed by containerd"),
    ),
    Note(
        "Where dockerd started containerd, that dies first: its parent-death signal comes when the "
        "thread of dockerd that forked it ends, and not when the process is gone.",
        _dies_first,
    ),
)


# --- latencies ---------------------------------------------------------------------------------


def _latencies(told: Sequence[Told]) -> list[str]:
    """How long the steps of a container's life take, held against the oldest docker's."""
    rounds = [t for t in told if t.golden.scenario == "rounds"]
    dockers = list(dict.fromkeys(t.engine.split()[0] for t in rounds))
    by_engine = {t.engine: t.measured.latencies for t in rounds}
    rows = []
    for name in LATENCIES:
        for topology in _TOPOLOGIES:
            samples = [
                by_engine.get(f"{docker} {topology}", {}).get(name, []) for docker in dockers
            ]
            if min(map(len, samples)) >= FEW:
                cells = [_latency(values, samples[0]) for values in samples[1:]]
                rows.append([name, topology, _median(samples[0]), *cells])
    what = [f"- {name}: {LATENCIES[name]}" for name in dict.fromkeys(row[0] for row in rows)]
    return [
        "## How long it takes",
        "",
        f"Medians of a container run, entered, restarted and removed {FEW} times on each engine,",
        f"and the factor to docker {dockers[0]} of the same topology with its 95 % interval, in",
        "bold where that does not hold 1. The engines of a topology were recorded side by side on",
        "a busy machine: the factors are of use, the times are not. The intervals are about the",
        "spread within a recording, not about what else the machine did, and of so many some miss",
        "by chance: look for what all topologies show alike, and measure your own engines before",
        "you rely on a factor.",
        "",
        *what,
        "",
        *table(["step", "topology", *dockers], rows, "llrrr"),
        "",
    ]


def _median(values: Sequence[int]) -> str:
    median = summarize(values, None).median_ns
    assert median is not None
    return span(median)


def _latency(values: Sequence[int], baseline: Sequence[int]) -> str:
    s = summarize(values, baseline)
    assert s.ratio is not None
    assert s.low is not None
    assert s.high is not None
    factor = f"x{s.ratio:.2f}"
    if not s.low <= 1 <= s.high:
        factor = f"**{factor}**"
    return f"{_median(values)}, {factor} ({s.low:.2f} to {s.high:.2f})"


def _how() -> list[str]:
    return [
        "## How to see it again",
        "",
        "    .venv/bin/rtrace compare tests/golden/captures",
        "    .venv/bin/rtrace report tests/golden/captures/bullseye-C-dockerd-kill.rtrace",
        "",
        "`lab golden` ([lab.md](lab.md)) records the captures anew.",
    ]
