"""Labs: several at once, by hand, and nothing left of them, whatever ends the test run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.process import Process
from tests.debian import BootstrapError
from tests.kernel.recording import DEADLINE_S, RTRACE, read_capture, wait_for
from tests.lab import roots
from tests.lab.lab import Lab, LabError, Setup, collect_garbage, names, runs_folder
from tests.machines.cgroups import cgroup_paths

pytestmark = pytest.mark.lab


def remains(name: str, pid: int) -> list[str]:
    """All that a lab has on this host."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *(str(path) for path in cgroup_paths(f"rtrace-lab-{name}") if path.exists()),
        *(line for line in mounts if name in line),
        *([str(runs_folder() / name)] if (runs_folder() / name).exists() else []),
        *([f"process {pid}"] if Process.of(pid) is not None else []),  # none if it is a zombie
    ]


def by_hand(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.lab ...`."""
    command = [sys.executable, "-m", "tests.lab", *words]
    return subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False
    )


def test_two_at_once_have_engines_of_their_own() -> None:
    setups = {"20.10.5": Setup("bullseye", "C"), "26.1.5": Setup("trixie", "A")}
    with Lab.boot(setups["20.10.5"]) as old, Lab.boot(setups["26.1.5"]) as new:
        assert {old.name, new.name} <= set(names())
        assert [lab.versions()["docker"] for lab in (old, new)] == list(setups)
        run = ("docker", "run", "--rm", "--network", "none", "busybox", "hostname")
        assert old.run(*run).returncode == new.run(*run).returncode == 0
        assert remains(old.name, old.pid)
    assert remains(old.name, old.pid) == remains(new.name, new.pid) == []


@pytest.mark.kernel
def test_a_killed_test_run_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.lab.lab import Setup\n"
        "from tests.lab.recording import record\n"
        "from tests.lab.scenarios import Scenario\n"
        "def play(scene):\n"
        "    scene.docker_run('web')\n"
        "    print(scene.lab.name, scene.lab.pid, *scene.lab.processes(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "killed = Scenario('killed', play, ('trixie',), 'B', False)\n"
        "record(Setup('trixie', 'B'), killed, Path(sys.argv[1]), program=sys.argv[2])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), RTRACE]
    killed = subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    name, pid, *tgids = killed.stdout.split()
    assert len(tgids) > 5  # systemd, dockerd, containerd, the shim, the container ...

    wait_for(lambda: Process.of(int(pid)) is None, "the end of the lab")
    wait_for(lambda: name not in names(), "the end of its lock")
    capture = tmp_path / "trixie-B-killed.rtrace"
    wait_for(lambda: read_capture(capture).whole, "the end of the recorder")
    collect_garbage()

    assert remains(name, int(pid)) == []


def test_by_hand(checkout: Path) -> None:
    name = f"hand-{os.getpid()}"
    booted = by_hand(checkout, "boot", "bullseye", "--topology", "D", "--name", name)
    assert booted.returncode == 0, booted.stderr
    try:
        assert "docker 20.10.5, containerd 1.4.13, runc 1.0.0-rc93" in booted.stdout
        again = by_hand(checkout, "boot", "bullseye", "--name", name)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr == f"lab: there is a lab {name}; take another name, or stop it\n"
        assert name in by_hand(checkout, "list").stdout.split()
        pid = int(by_hand(checkout, "pid", name).stdout)
        assert by_hand(checkout, "exec", name, "hostname").stdout == f"{name}\n"
        assert by_hand(checkout, "exec", name, "false").returncode == 1
        listed = by_hand(checkout, "ps", name).stdout
        assert all(comm in listed for comm in ("systemd", "dockerd", "containerd"))
        assert str(pid) in listed.split()
    finally:
        by_hand(checkout, "stop", name)
    assert remains(name, pid) == []
    gone = by_hand(checkout, "exec", name, "true")
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"lab: no lab {name} is running; running: ")


def test_a_suite_that_cannot_be_had_fails_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(roots.SUITES, "buzzword", ())

    with pytest.raises(BootstrapError, match=r"a root of buzzword: mmdebstrap failed, see /"):
        Lab.boot(Setup("buzzword", "A"))


def test_a_topology_that_a_suite_does_not_have() -> None:
    with pytest.raises(LabError, match="sid has no shim v1"):
        Lab.boot(Setup("sid", "C"))
