"""docs/export.md: what stands in it about columns is what analysis/export/fields.py says.

``python -m tests.export_page`` writes it again, behind its introduction.
"""

from __future__ import annotations

import re
from pathlib import Path

from analysis.export.fields import DETAIL_FIELDS, EVENT_FIELDS

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
MARK = "<!-- Below: made of analysis/export/fields.py by tests/export_page.py. -->\n"
_SECTIONS = {
    "events": (
        "All events, by time. Of a type only those columns that name it are set.",
        EVENT_FIELDS,
    ),
    "details": (
        "What was executed with which arguments, and moves to cgroups, by time. Of an exec they "
        "belong to the event of the same `process` and `ts_ns`.",
        DETAIL_FIELDS,
    ),
}


def blocks(language: str) -> list[str]:
    """The recipes in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def page() -> str:
    """The page as it has to be."""
    introduction, _, _ = PAGE.read_text().partition(MARK)
    parts = []
    for name, (intro, fields) in _SECTIONS.items():
        head = ["| column | type | unit | what | source |", "|---|---|---|---|---|"]
        rows = [
            f"| `{f.name}` | {_type(f.type)} | {f.unit} | {f.what} | {f.source} |" for f in fields
        ]
        parts.append("\n".join([f"## {name}\n", f"{intro}\n", *head, *rows]))
    return introduction + MARK + "\n" + "\n\n".join(parts) + "\n"


def _type(kind: object) -> str:
    return re.sub("<.*: string>", " of string", str(kind))


if __name__ == "__main__":
    PAGE.write_text(page())
