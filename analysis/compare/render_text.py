"""The comparison for a terminal, a pipe or a ticket. Fits 80 columns and uses more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from analysis.compare import words
from analysis.compare.comparison import cells_of
from analysis.references import Json
from analysis.text_layout import count, seconds, table_row
from analysis.text_page import BOLD, DIM, GREEN, INDENT, RED, YELLOW, Page, bounded_width
from analysis.text_safety import width as columns_of
from tracer.text import printable

_COLORS = {"holds": (GREEN,), "contradicted": (RED,), "not-observed": (YELLOW,)}
_CITED = 3


def render_comparison(document: Json, *, width: int, color: bool, full: bool = False) -> str:
    """Comparison as text, ended by a newline.

    Args:
        document: what `build_comparison` gave.
        full: also what all groups share, and every outcome's example.
    """
    page = Page(0, bounded_width(width), color)
    _head(page, document)
    _matrix(page, document)
    _changes(page, document)
    _outcomes(page, document, full)
    _latencies(page, document)
    _tree(page, document, full)
    return page.text()


def _head(page: Page, document: Json) -> None:
    page.put(f"compared: {words.head(document)}", BOLD)
    for skipped in document["skipped"]:
        page.put(f"not read: {printable(skipped['error'])}", RED)
    page.title("GROUPS")
    for group in document["groups"]:
        base = "the baseline, " if group["id"] == document["baseline"] else ""
        lead = f"{INDENT}[{group['id']}] "
        page.put(f"{group['name']}: {base}{count(len(group['captures']), 'capture')}", first=lead)
        page.put(words.environment_words(group["environment"]), DIM, first=" " * len(lead))
    for capture in document["captures"]:
        lacks = [d for d in capture["doubts"] if "filter" not in d]
        if lacks:
            page.put(f"{printable(capture['path'])}: {'; '.join(lacks)}", YELLOW, first=INDENT)


def _matrix(page: Page, document: Json) -> None:
    """A column a group where there is room; else a line a behaviour, equal groups together."""
    page.title("BEHAVIOURS: what was published on docker 18 and 19")
    heads = ["", *(f"[{g['id']}]" for g in document["groups"])]
    rows = [
        [row["id"], *(words.verdict_word(cell) for cell in row["groups"])]
        for row in document["behaviours"]
    ]
    if _wide(heads, rows) <= page.width:
        _table(page, heads, rows)
    else:
        for row in document["behaviours"]:
            groups: dict[str, list[str]] = {}
            for cell in row["groups"]:
                groups.setdefault(words.verdict_word(cell), []).append(cell["group"])
            parts = [f"{word} {words.group_words(ids)}" for word, ids in groups.items()]
            page.put(f"{row['id']}: {', '.join(parts)}", first=INDENT, rest=INDENT * 2)
    page.put(
        "* differs from the baseline; ? not certain; - did not happen; contradicted: it was "
        "not as published for that shape",
        DIM,
        first=INDENT,
    )


def _wide(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    sizes = [max(columns_of(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    return len(INDENT) + sum(sizes) + 2 * (len(sizes) - 1)


def _table(page: Page, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table if it fits; else its columns one after the other, a line a row."""
    if _wide(heads, rows) <= page.width:
        sizes = [max(map(columns_of, column)) for column in zip(heads, *rows, strict=True)]
        page.put(INDENT + table_row(heads, sizes), DIM)
        for row in rows:
            page.put(INDENT + table_row(row, sizes))
        return
    for row in rows:
        cells = [f"{name} {cell}" for name, cell in zip(heads[1:], row[1:], strict=True)]
        page.put(f"{row[0]}: {', '.join(cells)}", first=INDENT, rest=INDENT * 2)


def _changes(page: Page, document: Json) -> None:
    if len(document["groups"]) == 1:
        return
    changed = document["changed"]
    if not changed:
        compared = any(
            cell["comparable"] and cell["group"] != document["baseline"]
            for row in document["behaviours"]
            for cell in row["groups"]
        )
        text = "no behaviour differs from the baseline's"
        page.put("")
        page.put(
            text if compared else "nothing happened in two groups that could be compared", GREEN
        )
        return
    page.title(f"DIFFERENT FROM THE BASELINE: {len(changed)}")
    for text in changed:
        page.put(text, first=INDENT, rest=INDENT * 2)


def _outcomes(page: Page, document: Json, full: bool) -> None:
    page.title("WHAT BECAME OF SHIMS AND CONTAINERS")
    paths = {capture["number"]: capture for capture in document["captures"]}
    for row in document["behaviours"]:
        seen = [cell for cell in row["groups"] if cell["observed"]]
        if not seen:
            page.put(f"{row['id']}: did not happen", DIM, first=INDENT)
            continue
        page.put(f"{row['id']}: {row['question']}", BOLD, first=INDENT, rest=INDENT * 2)
        for cell in seen:
            lead = f"{INDENT * 2}[{cell['group']}] "
            page.put(f"{cell['verdict']}: {cell['claim']}", *_COLORS[cell["verdict"]], first=lead)
            for outcome in cell["outcomes"]:
                rest = " " * len(lead)
                text = f"{words.outcome_words(outcome)}: {words.times(outcome['count'])}"
                page.put(text, first=rest, rest=rest + INDENT)
                if full or outcome["verdict"] == "contradicted":
                    capture = paths[outcome["capture"]]
                    _example(page, outcome, capture["path"], rest + INDENT)


def _example(page: Page, outcome: Json, path: str, lead: str) -> None:
    when = seconds(outcome["rel_ns"], sign=True)
    page.put(f"{printable(path)} {when}: {outcome['what']}: {outcome['why']}", DIM, first=lead)
    cited = [f"{e['event']} of {e['id'].partition(':')[0]}" for e in outcome["evidence"][:_CITED]]
    if cited:
        page.put(f"evidence: {', '.join(cited)}", DIM, first=lead)


def _latencies(page: Page, document: Json) -> None:
    rows = [row for row in document["latencies"] if any(cell["n"] for cell in row["groups"])]
    if not rows:
        return
    page.title("LATENCIES, and their ratio to the baseline's with its 95 % interval")
    for row in rows:
        page.put(f"{row['id']}: {row['what']}", first=INDENT, rest=INDENT * 2)
        heads = ["", "n", "median", "p90", "max", "ratio"]
        cells = [
            [f"[{cell['group']}]", *words.latency_words(cell)]
            for cell in row["groups"]
            if cell["n"]
        ]
        _table(page, heads, cells)


def _tree(page: Page, document: Json, full: bool) -> None:
    """Where groups that have a role at all differ in its place."""
    tree = document["tree"]
    page.title("PROCESS TREES" if full else "PROCESS TREES, where they differ")
    shown = _parted(page, tree["places"], words.place_words, full)
    shown += _parted(page, tree["adoptions"], words.adoption_words, full)
    if not shown:
        page.put("they do not differ: --all tells them", first=INDENT)


def _parted(page: Page, rows: Sequence[Json], tell: Callable[[Json], str], full: bool) -> int:
    having: dict[str, set[str]] = {}
    for row in rows:
        mine = {id_ for id_, cell in cells_of(row).items() if cell["count"]}
        having.setdefault(row["child"], set()).update(mine)
    shown = 0
    for row in rows:
        cells = {id_: cell["count"] for id_, cell in cells_of(row).items() if cell["count"]}
        if full or set(cells) != having[row["child"]]:
            where = ", ".join(f"[{id_}] {number}" for id_, number in cells.items())
            page.put(f"{tell(row)}: {where}", first=INDENT, rest=INDENT * 2)
            shown += 1
    return shown
