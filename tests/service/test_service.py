"""The service under a real systemd: starts, is bounded, is watched, and loses nothing."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import is_required
from tests.kernel.recording import Capture, read_capture, wait_for
from tests.machines.machine import Machine
from tests.service.machine import SYSTEMD, service_machine
from tracer.service_unit import NAME

pytestmark = pytest.mark.kernel

RTRACE = Path(sys.executable).with_name("rtrace")
UNIT = f"etc/systemd/system/{NAME}"
STATE = "var/lib/rtrace"


@pytest.fixture(scope="module")
def machine(checkout: Path) -> Iterator[Machine]:
    if not SYSTEMD.exists():
        if is_required():
            pytest.fail("missing: systemd (package systemd)", pytrace=False)
        pytest.skip("missing: systemd (package systemd)")
    with service_machine(checkout) as running:
        yield running


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """A machine where the service runs, and has saved nothing yet."""
    machine.run("systemctl", "reset-failed", NAME)  # forgets how often it was started
    installed = machine.run(RTRACE, "install-service", "--max-size", "4MiB", "--force")
    assert installed.returncode == 0, installed.stderr + journal(machine)
    for old in (machine.root / STATE).glob("host*.rtrace"):
        old.unlink()
    yield machine
    shutil.rmtree(machine.root / f"{UNIT}.d", ignore_errors=True)


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "-u", NAME, "-o", "cat", "--no-pager").stdout


def main_pid(machine: Machine) -> str:
    return machine.show(NAME)["MainPID"]


def run_marked(machine: Machine) -> bytes:
    """A program with an argument that no other has; it is recorded some time after."""
    mark = uuid.uuid4().hex
    assert machine.run("true", mark).returncode == 0
    time.sleep(1.5)  # what was read is written after half a second
    return mark.encode()


def captures(machine: Machine, word: str = "") -> list[Path]:
    return sorted((machine.root / STATE).glob(f"*{word}.rtrace"))


def holds(capture: Capture, mark: bytes) -> bool:
    return any(mark in detail.args for detail in capture.details())


def wait_for_restart(machine: Machine, before: str) -> None:
    def restarted() -> bool:
        shown = machine.show(NAME)
        return shown["ActiveState"] == "active" and shown["MainPID"] not in ("0", before)

    wait_for(restarted, "the restart")


def test_it_runs_when_it_says_so(service: Machine) -> None:
    shown = service.show(NAME)
    assert (shown["ActiveState"], shown["SubState"]) == ("active", "running")
    assert shown["Type"] == "notify"
    assert shown["UnitFileState"] == "enabled"
    wait_for(lambda: "events, 0 lost" in service.show(NAME)["StatusText"], "its status")


def test_systemd_finds_no_fault_with_the_unit(service: Machine) -> None:
    verified = service.run("systemd-analyze", "verify", f"/{UNIT}")
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_it_has_the_rights_that_it_needs_and_no_others(service: Machine) -> None:
    status = service.run("cat", f"/proc/{main_pid(service)}/status").stdout
    values = dict(line.split(":\t", 1) for line in status.splitlines())
    cap_dac_read_search, cap_sys_ptrace, cap_perfmon, cap_bpf = 2, 19, 38, 39
    cap_sys_resource = 24
    kept = 1 << cap_dac_read_search | 1 << cap_sys_ptrace
    assert int(values["CapBnd"], 16) == kept | 1 << cap_perfmon | 1 << cap_bpf
    assert int(values["CapPrm"], 16) == int(values["CapEff"], 16) == kept
    assert values["NoNewPrivs"].strip() == "1"
    assert values["Seccomp"].strip() == "2"
    systemd = dict(
        line.split(":\t", 1) for line in service.run("cat", "/proc/1/status").stdout.splitlines()
    )
    if int(systemd["CapEff"], 16) >> cap_sys_resource & 1:  # else systemd cannot lower it
        score = service.run("cat", f"/proc/{main_pid(service)}/oom_score_adj").stdout
        assert score == "-500\n"
    # The nice value is the 19th field of stat.
    stat = service.run("cat", f"/proc/{main_pid(service)}/stat").stdout
    assert stat.rpartition(")")[2].split()[16] == "-10"
    enter = ["nsenter", "-t", main_pid(service), "-m", "touch"]
    for path in ("/etc/x", "/usr/x", "/tmp/x", "/sys/fs/cgroup/x", "/proc/sys/kernel/hostname"):
        refused = service.run(*enter, path)
        assert refused.returncode == 1, path
    assert service.run(*enter, f"/{STATE}/x").returncode == 0
    (service.root / STATE / "x").unlink()


def test_its_memory_is_bounded_by_the_kernel(service: Machine) -> None:
    shown = service.show(NAME)
    limit = int(shown["MemoryMax"])
    assert limit == 164 << 20
    cgroup = service.run("cat", f"/proc/{main_pid(service)}/cgroup").stdout
    v1 = re.search(r"^\d+:memory:(.*)$", cgroup, re.MULTILINE)
    v2 = re.search(r"^0::(.*)$", cgroup, re.MULTILINE)
    if v1:
        file = f"/sys/fs/cgroup/memory{v1[1]}/memory.limit_in_bytes"
    elif v2 and "memory" in service.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout:
        file = f"/sys/fs/cgroup{v2[1]}/memory.max"
    else:
        return  # this host gives its memory controller to nobody
    assert int(service.run("cat", file).stdout) == limit
    assert 0 < int(shown["MemoryCurrent"]) < limit


def test_stopping_it_leaves_one_complete_capture(service: Machine) -> None:
    mark = run_marked(service)
    assert service.run("systemctl", "stop", NAME).returncode == 0
    assert service.show(NAME)["Result"] == "success"
    assert not (service.root / STATE / "host.rtrace.segments").exists()
    capture = read_capture(service.root / STATE / "host.rtrace")
    assert capture.whole
    assert capture.trailer is not None
    assert capture.trailer["reason"] == "signal"
    assert holds(capture, mark)
    assert os.stat(capture.path).st_mode & 0o777 == 0o600


def test_it_comes_back_after_a_kill_with_what_was_recorded(service: Machine) -> None:
    mark, before = run_marked(service), main_pid(service)
    restarts = int(service.show(NAME)["NRestarts"])
    assert service.run("systemctl", "kill", "-s", "KILL", NAME).returncode == 0
    wait_for_restart(service, before)
    assert int(service.show(NAME)["NRestarts"]) == restarts + 1
    (recovered,) = captures(service, "recovered")
    assert holds(read_capture(recovered), mark)


def test_a_recorder_that_hangs_is_replaced(service: Machine) -> None:
    override = service.root / f"{UNIT}.d" / "watchdog.conf"
    override.parent.mkdir()
    override.write_text("[Service]\nWatchdogSec=5s\n")
    assert service.run("systemctl", "daemon-reload").returncode == 0
    assert service.run("systemctl", "restart", NAME).returncode == 0
    mark, before = run_marked(service), main_pid(service)
    assert service.run("systemctl", "kill", "-s", "STOP", NAME).returncode == 0
    wait_for_restart(service, before)
    assert "Watchdog timeout" in journal(service)
    (recovered,) = captures(service, "recovered")
    assert holds(read_capture(recovered), mark)


def test_it_saves_at_an_event_and_on_demand_and_goes_on(service: Machine) -> None:
    before = main_pid(service)
    # Not a real one, but what makes a dockerd is the name of its executable.
    script = "cp /bin/sleep /opt/dockerd && { /opt/dockerd 60 & } && sleep 1 && kill -9 $!"
    assert service.run("sh", "-c", script).returncode == 0

    def saved_triggers() -> dict[str, str]:
        """Of the process that the shell killed; other programs of the host may have some too."""
        for capture in map(read_capture, captures(service, "-kill")):
            facts = [fact for fact in capture.json(b"FACT") if fact["kind"] == "trigger"]
            for fact in facts if capture.whole else []:
                if re.fullmatch(r"sh \(\d+\) sent SIGKILL to dockerd \(\d+\)", fact["what"]):
                    mine = [f for f in facts if f["start_ns"] == fact["start_ns"]]
                    return {f["trigger"]: f["what"] for f in mine}
        return {}

    found = wait_for(saved_triggers, "the save")
    assert re.fullmatch(r"dockerd \(\d+\) was killed by SIGKILL", found["dockerd-exit"])

    mark = run_marked(service)
    asked = service.run(RTRACE, "snapshot")
    assert asked.returncode == 0, asked.stderr
    (demanded,) = captures(service, "saved")
    assert holds(read_capture(demanded), mark)
    assert main_pid(service) == before


def test_installing_it_again(service: Machine) -> None:
    before = main_pid(service)
    again = service.run(RTRACE, "install-service", "--max-size", "4MiB")
    assert (again.returncode, main_pid(service)) == (0, before)

    other = service.run(RTRACE, "install-service", "--max-size", "8MiB")
    assert other.returncode == 1
    assert other.stderr.startswith(
        f"rtrace: cannot install the service: /{UNIT} exists and differs"
    )
    assert other.stderr.count("\n") == 1
    assert main_pid(service) == before

    forced = service.run(RTRACE, "install-service", "--max-size", "8MiB", "--force")
    assert forced.returncode == 0, forced.stderr
    assert main_pid(service) not in ("0", before)
    assert "--max-size 8M" in (service.root / UNIT).read_text()


def test_removing_it_leaves_recordings(machine: Machine) -> None:
    machine.run(RTRACE, "install-service", "--uninstall")
    installed = machine.run(
        RTRACE, "install-service", "--no-start", "--dir", "/srv/flight recorder"
    )
    assert installed.returncode == 0, installed.stderr
    shown = machine.show(NAME)
    assert (shown["ActiveState"], shown["UnitFileState"]) == ("inactive", "enabled")
    assert machine.run("systemctl", "start", NAME).returncode == 0, journal(machine)
    mark = run_marked(machine)

    removed = machine.run(RTRACE, "install-service", "--uninstall")

    assert (removed.returncode, removed.stderr) == (0, f"removed {NAME}\n")
    assert not (machine.root / UNIT).exists()
    assert machine.show(NAME)["LoadState"] == "not-found"
    assert holds(read_capture(machine.root / "srv/flight recorder/host.rtrace"), mark)
    again = machine.run(RTRACE, "install-service", "--uninstall")
    assert (again.returncode, again.stderr) == (0, f"there is no {NAME}\n")


def test_a_unit_of_somebody_else_is_not_removed(machine: Machine) -> None:
    machine.run(RTRACE, "install-service", "--uninstall")
    (machine.root / UNIT).write_text("[Service]\nExecStart=/bin/true\n")
    try:
        refused = machine.run(RTRACE, "install-service", "--uninstall")
        assert refused.returncode == 1
        assert "rtrace did not make" in refused.stderr
        assert (machine.root / UNIT).exists()
    finally:
        (machine.root / UNIT).unlink()


def test_a_service_that_cannot_start_says_where_to_look(machine: Machine) -> None:
    machine.run(RTRACE, "install-service", "--uninstall")
    (machine.root / STATE).mkdir(exist_ok=True)
    (machine.root / STATE / "host.rtrace.segments").write_text("in the way")
    try:
        failed = machine.run(RTRACE, "install-service")
        assert failed.returncode == 1
        assert failed.stderr.startswith("rtrace: the service does not start: ")
        assert failed.stderr.count("\n") == 1
        assert "journalctl -u rtrace.service" in failed.stderr
        assert "it exists and is not a directory" in journal(machine)
    finally:
        machine.run(RTRACE, "install-service", "--uninstall")
        (machine.root / STATE / "host.rtrace.segments").unlink()
