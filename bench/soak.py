"""`python -m bench.soak`: a bounded recording under mixed load, then judged.

The load: containers of a private docker that come and go, some that live on, `docker exec` and
`docker restart`, storms of forks and execs. Meanwhile the recorder's memory and CPU and the size
of what it keeps are sampled. At the end a container is killed from outside, and the capture has to
name every container that is alive and to explain that death.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.build import build_storm
from bench.errors import BenchError
from bench.machine import describe_machine, rtrace_command
from bench.stats import Summary
from demo.privatedocker import PrivateDocker, PrivateDockerError

_LIVING = ("web", "db", "queue")
_KILLED = "last"
_SAMPLE_S = 5.0
_RESTART_EVERY = 40  # turns of the load
# What is sampled first belongs to the start: facts, the first segments, caches of the allocator.
_WARM_UP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """The recorder at one moment.

    Attributes:
        at_s: seconds since the recording began.
        rss_bytes: its resident memory, mapped rings included.
        cpu_s: CPU time that it has used so far.
        kept_bytes: size of all that it keeps on disk.
    """

    at_s: float
    rss_bytes: int
    cpu_s: float
    kept_bytes: int


class Load:
    """Containers and storms, turn by turn, until it is told to stop.

    Attributes:
        turns: how many turns there were.
        failures: docker commands that failed, by what they said.
    """

    def __init__(self, docker: PrivateDocker, storm: Path, pause_s: float) -> None:
        self._docker, self._storm, self._pause_s = docker, storm, pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.turns = 0
        self.failures: list[str] = []

    def start(self) -> None:
        """Begins, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the turn that runs."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        run = ("run", "--rm", "--network", "none", self._docker.image)
        while not self._stop.wait(self._pause_s):
            self.turns += 1
            try:
                status = self.turns % 4
                self._docker.docker(*run, "sh", "-c", f"true & exit {status}", check=False)
                living = _LIVING[self.turns % len(_LIVING)]
                self._docker.docker("exec", living, "true")
                if self.turns % _RESTART_EVERY == 0:
                    self._docker.docker("restart", "--time", "1", living)
                for mode, count in (("fork", 2000), ("exec", 200)):
                    subprocess.run([self._storm, mode, str(count), "1"], stdout=subprocess.DEVNULL)
            except (subprocess.SubprocessError, OSError) as error:
                said = getattr(error, "stderr", None) or str(error)
                self.failures.append(said.strip()[-200:])


def main() -> int:
    """Runs the soak and prints its figures; 1 if the capture does not tell what it has to."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--max-size", default="20MB", help="of the recording")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between turns")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all samples to FILE too")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("soak: recording needs root")
    with tempfile.TemporaryDirectory(prefix="rtrace-soak-") as scratch:
        try:
            figures = run_soak(Path(scratch), options.minutes * 60, options.max_size, options.pause)
        except (BenchError, PrivateDockerError) as error:
            sys.exit(f"soak: {error}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    del figures["samples"]
    print(json.dumps(figures, indent=1))
    return 0 if not figures["unnamed"] and figures["killed_explained"] else 1


def run_soak(directory: Path, seconds: float, max_size: str, pause_s: float) -> dict[str, Any]:
    """Figures of one soak, all in one object."""
    storm, path = build_storm(directory), directory / "soak.rtrace"
    with PrivateDocker() as docker:
        for name in _LIVING:
            _run_container(docker, name)
        with _recording(path, max_size) as recorder:
            begun = time.monotonic()
            load = Load(docker, storm, pause_s)
            load.start()
            samples = []
            try:
                while time.monotonic() - begun < seconds:
                    time.sleep(min(_SAMPLE_S, seconds))
                    samples.append(_sample(recorder.pid, path, time.monotonic() - begun))
            finally:
                load.stop()
            _run_container(docker, _KILLED)
            killer = _kill_from_outside(docker, _KILLED)
            alive = docker.docker("ps", "--format", "{{.Names}}").stdout.split()
            recorder.send_signal(signal.SIGINT)
            _, said = recorder.communicate(timeout=120)
        report = _read_report(path)
    warm = [s for s in samples if s.at_s >= seconds * _WARM_UP_SHARE] or samples
    rss = Summary.of(s.rss_bytes / 1e6 for s in warm)
    named = {c["name"] for c in report["containers"] if c["end"]["how"] == "running"}
    killed = next((c for c in report["containers"] if c["name"] == _KILLED), None)
    cause = (killed or {"end": {"cause": None}})["end"]["cause"] or {}
    return {
        "machine": describe_machine(),
        "seconds": seconds,
        "max_size": max_size,
        "turns": load.turns,
        "docker_failures": load.failures[:5],
        "rss_mb": rss.as_json(),
        "rss_mb_first_third": _median_rss(warm, 0, 3),
        "rss_mb_last_third": _median_rss(warm, 2, 3),
        "rss_mb_per_hour": _slope(warm) * 3600,
        "cpu_share": samples[-1].cpu_s / samples[-1].at_s,
        "kept_mb_max": max(s.kept_bytes for s in samples) / 1e6,
        "capture_mb": path.stat().st_size / 1e6,
        "recorder_said": said.decode(errors="replace").splitlines(),
        "events": report["capture"]["events"],
        "lost": report["losses"]["events"] + report["losses"]["details"],
        "alive": sorted(alive),
        "unnamed": sorted(set(alive) - named),
        "killed_end": killed and killed["end"]["text"],
        "killed_explained": cause.get("kind") == "process" and cause["sender"]["tgid"] == killer,
        "samples": [asdict(s) for s in samples],
    }


def _run_container(docker: PrivateDocker, name: str) -> None:
    command = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done")
    docker.docker("run", "-d", "--name", name, "--network", "none", docker.image, *command)


def _kill_from_outside(docker: PrivateDocker, name: str) -> int:
    """Kills the container's process 1 with a shell's `kill`; the shell's process id."""
    init = docker.docker("inspect", "--format", "{{.State.Pid}}", name).stdout.strip()
    time.sleep(1.0)
    with subprocess.Popen(["sh", "-c", f"kill -9 {int(init)}; :"]) as killer:
        pass
    docker.docker("wait", name)
    time.sleep(1.0)
    return killer.pid


@contextlib.contextmanager
def _recording(path: Path, max_size: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [rtrace_command(), "record", "--max-size", max_size, "-o", str(path)]
    recorder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        time.sleep(2.0)
        if recorder.poll() is not None:
            assert recorder.stderr is not None
            raise BenchError.from_output("rtrace record", recorder.stderr.read())
        yield recorder
    finally:
        if recorder.poll() is None:
            recorder.kill()
            recorder.wait()


def _sample(pid: int, path: Path, at_s: float) -> Sample:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    cpu_ns = 0
    for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            cpu_ns += int(schedstat.read_text().split()[0])
    kept = 0
    for file in path.parent.glob("soak.*/*"):
        with contextlib.suppress(OSError):
            kept += file.stat().st_size
    return Sample(at_s, int(status["VmRSS"].split()[0]) << 10, cpu_ns / 1e9, kept)


def _median_rss(samples: list[Sample], part: int, parts: int) -> float:
    size = max(1, len(samples) // parts)
    return Summary.of(s.rss_bytes / 1e6 for s in samples[part * size :][:size]).median


def _slope(samples: list[Sample]) -> float:
    """MB of memory that are added in a second, by least squares."""
    mean_t = sum(s.at_s for s in samples) / len(samples)
    mean_m = sum(s.rss_bytes for s in samples) / len(samples)
    spread = sum((s.at_s - mean_t) ** 2 for s in samples)
    common = sum((s.at_s - mean_t) * (s.rss_bytes - mean_m) for s in samples)
    return common / spread / 1e6 if spread else 0.0


def _read_report(path: Path) -> dict[str, Any]:
    command = [rtrace_command(), "report", str(path), "--format", "json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise BenchError.from_output("rtrace report", done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    sys.exit(main())
