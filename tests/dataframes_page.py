"""docs/dataframes.md: what stands in it about columns is what the docstrings say.

``python -m tests.dataframes_page`` writes it again, behind its introduction.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from rtrace.capture import FRAMES, Capture, documentation

PAGE = Path(__file__).parents[1] / "docs" / "dataframes.md"
MARK = "<!-- Below: made of the docstrings of rtrace/capture.py by tests/dataframes_page.py. -->\n"


def tables() -> str:
    """A section with a table for each frame."""
    parts = []
    for frame in FRAMES:
        text = inspect.cleandoc(getattr(Capture, frame).__doc__ or "")
        intro = text.partition("\nColumns:\n")[0].replace("``", "`").strip()
        rows = [
            f"| `{c.name}` | {c.dtype} | {c.unit} | {c.what} | {c.source} |"
            for c in documentation(frame)
        ]
        head = ["| column | dtype | unit | what | source |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"## {frame}\n", f"{intro}\n", *head, *rows]))
    return "\n\n".join(parts) + "\n"


def page() -> str:
    """The page as it has to be."""
    introduction, _, _ = PAGE.read_text().partition(MARK)
    return f"{introduction}{MARK}\n{tables()}"


if __name__ == "__main__":
    PAGE.write_text(page())
