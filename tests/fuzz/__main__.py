"""`make fuzz`: python -m tests.fuzz [--minutes N | --runs N] [--seed N] [--corpus FOLDER]."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIMIT = 128 << 10
"""Bytes of a file at most."""

_TELL_S = 60


def main() -> None:
    options = _options()
    # Numbers of strings decide the order of sets: the same seed shall do the same.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.fuzz", *sys.argv[1:]])
    try:
        import atheris
    except ImportError as error:
        sys.exit(f"cannot fuzz: {error}; `pip install -e '.[fuzz]'` has it for x86-64 Linux")
    with atheris.instrument_imports(include=["analysis", "tracer"]):
        from tests.fuzz.targets import Bench, Finding

        folder = Path(tempfile.mkdtemp(prefix="rtrace-fuzz-", dir=_memory()))
        bench = Bench(folder)
        bench.warm_up()  # here, for what is imported late is to be watched too
    from tests.fuzz.comparisons import free_results
    from tests.fuzz.mutate import Mutator
    from tests.fuzz.seeds import donors, seeds

    given = donors()
    corpus = Path(options.corpus or folder / "corpus")
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (corpus / name).write_bytes(data)
    run = _Run(options, bench, Finding, folder)

    def one(data: bytes) -> None:
        if not run.executions:
            free_results()  # before its first file Atheris puts its own call there
        run.one(data)

    def mutate(data: bytes, limit: int, seed: int) -> bytes:
        return Mutator(seed, atheris.Mutate, given).mutate(bytes(data), limit)

    arguments = [
        sys.argv[0],
        f"-max_len={LIMIT}",
        f"-seed={options.seed}",
        "-timeout=3600",  # of wall time: targets.py looks at CPU time
        "-report_slow_units=3600",
        f"-artifact_prefix={folder}/",
        "-rss_limit_mb=4096",
        "-len_control=0",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


class _Run:
    """One run: what it does with each file, and what it tells at its end."""

    def __init__(
        self, options: argparse.Namespace, bench: Any, finding: type[Exception], folder: Path
    ) -> None:
        self.options, self.bench, self.finding, self.folder = options, bench, finding, folder
        self.executions = 0
        self.found: dict[str, str] = {}
        self._begun = self._told = time.monotonic()

    def one(self, data: bytes) -> None:
        self.executions += 1
        try:
            self.bench.run(bytes(data))
        except self.finding as finding:
            self._keep(bytes(data), finding)
        now = time.monotonic()
        minutes, runs = self.options.minutes, self.options.runs
        over = (minutes and now - self._begun > 60 * minutes) or self.executions == runs
        over = over or (self.found and not self.options.go_on)
        if over or now - self._told > _TELL_S:
            self._told = now
            self.tell()
        if over:
            self.clean()
            # libFuzzer ends the process without a word to Python; so does this.
            os._exit(bool(self.found))

    def clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self, data: bytes, finding: Exception) -> None:
        """The first file that shows it. Two are the same if they come from the same line."""
        key = _place(finding)
        if key in self.found:
            return
        folder = Path(self.options.findings)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(data).hexdigest()[:12]
        path.write_bytes(data)
        self.found[key] = f"{path}: {finding}"
        print(f"FOUND {self.found[key]} [{key}]", file=sys.stderr, flush=True)

    def tell(self) -> None:
        """Figures so far."""
        seconds = time.monotonic() - self._begun
        costs = self.bench.costs
        print(
            f"{self.executions} executions in {seconds:.0f} s, {self.executions / seconds:.1f} a "
            f"second; {len(self.found)} findings; the process grew to {costs.peak_bytes >> 20} MiB"
        )
        for name, spent in sorted(costs.slowest.items(), key=lambda pair: -pair[1]):
            times, mean = costs.times[name], costs.spent[name] / costs.times[name]
            print(
                f"  {name:10} {times:8} times, CPU {mean:.3f} s, at most {spent:.2f} s, "
                f"{costs.largest[name] >> 20} MiB"
            )
        sys.stdout.flush()


def _place(finding: BaseException) -> str:
    """Where it was raised: the innermost line of the project, or what it says."""
    cause = finding.__cause__
    trace, last = (cause or finding).__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/analysis/" in name or "/tracer/" in name:
            last = f"{name.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(cause).__name__} {last}" if cause else str(finding)[:60]


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=int, help="stop after so long")
    parser.add_argument("--runs", type=int, help="stop after so many executions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", help="folder that files are taken from, and new ones put into")
    parser.add_argument("--findings", default="build/fuzz", help="folder for what is found")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first finding")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
