"""`.venv/bin/python -m tests.golden`: takes over what analysis tells of the golden captures now.

Writes tests/golden/expected, docs/docker-versions.md and its essence in the README. `--diff` prints
what would be different.
"""

from __future__ import annotations

import sys

from tests.golden.captures import all_golden, read_expected, write_expected
from tests.golden.differences import differences
from tests.golden.docker_versions import (
    BEGIN,
    DOCUMENT,
    END,
    README,
    build_document,
    build_essence,
)


def main() -> None:
    if sys.argv[1:] == ["--diff"]:
        for golden in all_golden():
            before = read_expected(golden.engine).get(golden.name, {})
            for line in differences(before, golden.report):
                print(f"{golden.name}: {line}")
        return
    if sys.argv[1:]:
        sys.exit(__doc__)
    write_expected()
    DOCUMENT.write_text(build_document(all_golden()))
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + build_essence(all_golden()) + after)


main()
