"""The text of the service's unit, and that its command is one that rtrace takes."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from tracer.cli.record import record
from tracer.service_unit import MARK, Service, render_unit

SERVICE = Service(
    rtrace="/usr/local/bin/rtrace",
    directory="/var/lib/rtrace",
    max_bytes=64 << 20,
    triggers=("oom", "container-exit!=0"),
    keep=10,
    buffer_bytes=16 << 20,
)


def values(unit: str) -> dict[str, str]:
    lines = [line for line in unit.splitlines() if not line.startswith(("#", "["))]
    return dict(line.split("=", 1) for line in lines if line)


def test_the_command_is_one_that_rtrace_takes() -> None:
    unit = values(render_unit(dataclasses.replace(SERVICE, no_args=True)))
    program, verb, *options = shlex.split(unit["ExecStart"])
    assert (program, verb) == ("/usr/local/bin/rtrace", "record")
    parsed = record.make_context("record", options).params
    assert parsed["output"] == "/var/lib/rtrace/host.rtrace"
    assert (parsed["max_size"], parsed["keep"], parsed["buffer"]) == (64 << 20, 10, 16 << 20)
    assert parsed["triggers"] == ("oom", "container-exit!=0")
    assert parsed["no_args"]
    assert parsed["force"], "the capture of the last stop may be there"


def test_every_option_is_given_once() -> None:
    lines = [line for line in render_unit(SERVICE).splitlines() if re.match("[A-Z].*=", line)]
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))
    assert render_unit(SERVICE).startswith(f"{MARK}\n")


@pytest.mark.parametrize(
    ("buffer_bytes", "high"),
    [(16 << 20, 2 * 18 + 64), (64 << 20, 2 * 66 + 64)],
)
def test_memory_follows_from_the_rings(buffer_bytes: int, high: int) -> None:
    unit = values(render_unit(dataclasses.replace(SERVICE, buffer_bytes=buffer_bytes)))
    assert unit["MemoryHigh"] == f"{high}M"
    assert unit["MemoryMax"] == f"{high + 64}M"


def test_compiling_needs_more_memory_and_headers() -> None:
    core = values(render_unit(SERVICE))
    compiling = values(render_unit(dataclasses.replace(SERVICE, compiles=True)))
    assert int(compiling["MemoryHigh"][:-1]) >= int(core["MemoryHigh"][:-1]) + 150
    assert core["ProtectKernelModules"] == core["MemoryDenyWriteExecute"] == "yes"
    assert not {"ProtectKernelModules", "MemoryDenyWriteExecute"} & compiling.keys()
    assert compiling["CapabilityBoundingSet"] == core["CapabilityBoundingSet"]


@pytest.mark.parametrize(
    ("directory", "place"),
    [
        ("/var/lib/rtrace", ("StateDirectory", "rtrace")),
        ("/var/lib/a b/c", ("StateDirectory", '"a b/c"')),
        ("/srv/rtrace", ("ReadWritePaths", "/srv/rtrace")),
        ('/srv/50% $HOME "x\\', ("ReadWritePaths", '"/srv/50%% $HOME \\"x\\\\"')),
        ("/var/lib", ("ReadWritePaths", "/var/lib")),
    ],
)
def test_directories(directory: str, place: tuple[str, str]) -> None:
    unit = values(render_unit(dataclasses.replace(SERVICE, directory=directory)))
    name, value = place
    assert unit[name] == value
    assert {"StateDirectory", "ReadWritePaths"} & unit.keys() == {name}
    command = shlex.split(unit["ExecStart"].replace("%%", "%").replace("$$", "$"))
    assert command[3] == f"{directory}/host.rtrace"


def test_no_argument_is_a_variable_to_systemd() -> None:
    unit = values(render_unit(dataclasses.replace(SERVICE, directory="/srv/$HOME")))
    assert '"/srv/$$HOME/host.rtrace"' in unit["ExecStart"]
