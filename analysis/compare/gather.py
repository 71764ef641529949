"""Finds captures and measures each once, several at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from analysis.compare.measure import Measured, measure
from tracer.errors import CaptureError, RtraceError, UsageError

SUFFIX = ".rtrace"
# Captures beyond that are measured alone: what several at a time need is bounded by it.
_LARGE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """A capture to read. ``label``: None if it was given none."""

    path: str
    label: str | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """One that cannot be read, and why, in one line."""

    path: str
    error: str


def find_sources(words: Sequence[str]) -> list[Source]:
    """Captures of a command line: files, folders (with all captures below), either as LABEL=PATH.

    Raises:
        UsageError: there is no such file, or no capture in a folder.
    """
    found: dict[str, Source] = {}
    for word in words:
        label, path = _split(word)
        for file in _files(path):
            found.setdefault(os.path.realpath(file), Source(file, label))
    return list(found.values())


def _split(word: str) -> tuple[str | None, str]:
    label, equals, path = word.partition("=")
    if not equals or os.path.exists(word) or os.sep in label:
        return None, word
    return label or None, path


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        files = sorted(str(file) for file in Path(path).rglob(f"*{SUFFIX}") if file.is_file())
        if not files:
            raise UsageError(
                f"cannot compare {path}", f"no {SUFFIX} file is in it", "give a folder of captures"
            )
        return files
    if not os.path.exists(path):
        raise UsageError(
            f"cannot compare {path}", "no such file", "give captures, folders or LABEL=PATH"
        )
    return [path]


def measure_all(
    sources: Sequence[Source],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    jobs: int | None = None,
) -> tuple[list[Measured], list[Skipped]]:
    """Read each capture once.

    Args:
        on_progress: called with how many are done, and of how many.
        jobs: how many at a time; by default as many as there are CPUs for this process.

    Raises:
        RtraceError: a process that read one was killed.
    """
    jobs = jobs or len(os.sched_getaffinity(0))
    found: dict[Source, Measured | Skipped] = {}
    small = [s for s in sources if _size(s) <= _LARGE_BYTES]
    batches = [small, *([s] for s in sources if _size(s) > _LARGE_BYTES)]
    for batch in batches:
        for source, result in _measure(batch, min(jobs, len(batch))):
            found[source] = result
            on_progress(len(found), len(sources))
    results = [found[source] for source in sources]
    measured = [r for r in results if isinstance(r, Measured)]
    return measured, [r for r in results if isinstance(r, Skipped)]


def _size(source: Source) -> int:
    try:
        return os.stat(source.path).st_size
    except OSError:
        return 0


def _measure(batch: Sequence[Source], jobs: int) -> Iterable[tuple[Source, Measured | Skipped]]:
    if jobs <= 1 and len(batch) == 1 and _size(batch[0]) <= _LARGE_BYTES:
        yield batch[0], _one(batch[0])
        return
    if not batch:
        return
    # A process of its own gives its memory back; forked, it need not import pandas again.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(max(jobs, 1), mp_context=context) as pool:
        futures: dict[Future[Measured | Skipped], Source] = {
            pool.submit(_one, source): source for source in batch
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            names = batch[0].path if len(batch) == 1 else f"{len(batch)} captures"
            raise RtraceError(
                f"cannot compare {names}",
                "a process that read one was killed, for memory perhaps",
                "give fewer or smaller captures",
            ) from None


def _one(source: Source) -> Measured | Skipped:
    try:
        return measure(source.path, source.label)
    except (CaptureError, OSError) as error:
        return Skipped(source.path, str(error))
    except MemoryError:
        return Skipped(source.path, f"cannot read {source.path}: out of memory")
