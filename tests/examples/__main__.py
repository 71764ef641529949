"""`.venv/bin/python -m tests.examples`: takes over what commands print now into README and docs.

Transcripts that leave lines out (`...`) are named and left for you.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.examples.pages import CHECKOUT, transcripts
from tests.examples.transcripts import check, lay_out, renew


def main() -> None:
    """Rewrites the pages."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        for block in transcripts():
            try:
                check(block, Path(folder))
            except AssertionError:
                new = renew(block, Path(folder))
                page = CHECKOUT / block.page
                page.write_text(page.read_text().replace(block.text, new, 1))
                left = "by hand: it leaves lines out" if new == block.text else "renewed"
                print(f"{block}: {left}")


if __name__ == "__main__":
    main()
