"""The capabilities that the service keeps are enough to record, and to name containers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from demo.privatedocker import PrivateDocker
from tests.kernel.recording import Recorder, wait_for
from tracer import abi
from tracer.service_unit import Service, render_unit

pytestmark = [pytest.mark.docker, pytest.mark.kernel]


def test_a_recorder_with_the_services_rights_names_containers(
    private_docker: PrivateDocker, tmp_path: Path
) -> None:
    assert shutil.which("setpriv"), "missing: setpriv (package util-linux)"
    unit = render_unit(Service("/usr/bin/rtrace", "/var/lib/rtrace", 1 << 26, (), 10, 1 << 24))
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    kept = ",".join(f"+{word.removeprefix('CAP_').lower()}" for word in line.split())
    wrapper = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all,{kept}"]
    docker, image = private_docker.docker, private_docker.image
    run = ("run", "-d", "--network", "none")
    docker(*run, "--name", "older", image, "sleep", "60")
    init = int(docker("inspect", "-f", "{{.State.Pid}}", "older").stdout)
    try:
        recorder = Recorder(tmp_path, wrapper=wrapper)
        recorder.wait_until_recording()
        docker(*run, "--name", "younger", image, "sleep", "60")

        def named() -> bool:
            recorder.capture.read()
            facts = recorder.capture.json(b"FACT")
            names = {fact.get("name") for fact in facts if fact["kind"] == "container"}
            return {"older", "younger"} <= names and init in recorder.capture.processes("start")

        wait_for(named, "both names, and what /proc says")
    finally:
        docker("rm", "-f", "older", "younger", check=False)
    ended = recorder.stop()
    assert ended.status == 0, ended.stderr
    assert recorder.capture.whole
    processes = recorder.capture.processes("start")
    assert processes[private_docker.dockerd.pid]["exe"].endswith("/dockerd")
    assert processes[init]["exe"].endswith("/busybox")
    (exited,) = recorder.capture.events(init, abi.Type.EXIT)
    assert exited.exit.exit_code & 0x7F == 9
