"""The golden captures, and the reports that are expected of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import zstandard

from analysis.compare.measure import Measured, measure_capture
from analysis.model import Capture, open_capture
from analysis.report import build_report

Json = dict[str, Any]

HERE = Path(__file__).parent
CAPTURES, EXPECTED = HERE / "captures", HERE / "expected"
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Golden:
    """One capture, recorded in the lab (docs/lab.md). ``name``: SUITE-TOPOLOGY-SCENARIO[-lr]."""

    name: str

    @property
    def capture(self) -> Path:
        return CAPTURES / f"{self.name}.rtrace"

    @cached_property
    def witness(self) -> Json:
        """What was done, and what /proc and docker answered meanwhile."""
        found: Json = json.loads((CAPTURES / f"{self.name}.witness.json").read_text())
        return found

    @property
    def engine(self) -> str:
        """ "bullseye-C": suite and topology."""
        return "-".join(self.name.split("-")[:2])

    @property
    def scenario(self) -> str:
        """ "dockerd-restart", "dockerd-restart-lr"."""
        return self.name.split("-", 2)[2]

    @cached_property
    def opened(self) -> Capture:
        return open_capture(self.capture)

    @cached_property
    def report(self) -> Json:
        """As `rtrace report --format json` prints it."""
        return build_report(self.opened)

    @cached_property
    def measured(self) -> Measured:
        """What it adds to a comparison."""
        return measure_capture(self.opened, str(self.capture), None)


@cache
def all_golden() -> list[Golden]:
    return [Golden(path.stem) for path in sorted(CAPTURES.glob("*.rtrace"))]


def engines() -> list[str]:
    return sorted({golden.engine for golden in all_golden()})


def read_expected(engine: str) -> dict[str, Json]:
    """Reports of an engine's captures by name."""
    packed = (EXPECTED / f"{engine}.json.zst").read_bytes()
    raw = zstandard.ZstdDecompressor().decompress(packed, _MOST_BYTES)
    found: dict[str, Json] = json.loads(raw)
    return found


def write_expected() -> None:
    """Takes what analysis tells now for what it is to tell. Read the difference before."""
    EXPECTED.mkdir(exist_ok=True)
    for old in EXPECTED.glob("*.json.zst"):
        old.unlink()
    for engine in engines():
        reports = {g.name: g.report for g in all_golden() if g.engine == engine}
        raw = json.dumps(reports, sort_keys=True, separators=(",", ":")).encode()
        packed = zstandard.ZstdCompressor(level=19).compress(raw)
        (EXPECTED / f"{engine}.json.zst").write_bytes(packed)
