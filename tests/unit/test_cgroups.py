"""Which cgroup hierarchies a host has, from mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracer.abi import Controller
from tracer.cgroups import (
    Hierarchy,
    cgroup_mode,
    find_hierarchy,
    naming_controller,
    read_hierarchies,
)

V2 = "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
UNIFIED = "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n"
SYSTEMD = "34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd\n"
CPU = "35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY = "36 30 0:32 /lxc/c1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
PIDS = "37 30 0:33 / /odd\\040place/pids rw - cgroup cgroup rw,pids\n"
OTHER = "1 0 8:1 / / rw - ext4 /dev/sda1 rw,cpu\n"


def read(tmp_path: Path, *lines: str) -> list[Hierarchy]:
    path = tmp_path / "mountinfo"
    path.write_text("".join(lines))
    return read_hierarchies(str(path))


@pytest.mark.parametrize(
    ("lines", "mode", "controller"),
    [
        ((OTHER,), "none", Controller.NONE),
        ((V2,), "v2", Controller.NONE),
        ((SYSTEMD,), "none", Controller.NONE),
        ((CPU, MEMORY), "v1", Controller.MEMORY),
        ((CPU,), "v1", Controller.CPU),
        ((UNIFIED, SYSTEMD, CPU, MEMORY, PIDS), "hybrid", Controller.PIDS),
        ((UNIFIED, SYSTEMD), "v2", Controller.NONE),
    ],
)
def test_modes(tmp_path: Path, lines: tuple[str, ...], mode: str, controller: Controller) -> None:
    hierarchies = read(tmp_path, OTHER, *lines)

    assert cgroup_mode(hierarchies) == mode
    assert naming_controller(hierarchies) == controller


def test_fields(tmp_path: Path) -> None:
    cpu, memory, pids, v2 = read(tmp_path, CPU, MEMORY, PIDS, UNIFIED)

    assert cpu == Hierarchy(
        "/sys/fs/cgroup/cpu,cpuacct", 1, (Controller.CPU, Controller.CPUACCT), "/"
    )
    assert memory.root == "/lxc/c1"
    assert pids.mount == "/odd place/pids"
    assert (v2.version, v2.controllers) == (2, ())


def test_the_innermost_mount_wins() -> None:
    outer = Hierarchy("/sys/fs/cgroup", 2, (), "/")
    inner = Hierarchy("/sys/fs/cgroup/memory", 1, (Controller.MEMORY,), "/")

    assert find_hierarchy("/sys/fs/cgroup/memory/docker/x", [outer, inner]) is inner
    assert find_hierarchy("/sys/fs/cgroup/memory", [outer, inner]) is inner
    assert find_hierarchy("/sys/fs/cgroup/memory2", [outer, inner]) is outer
    assert find_hierarchy("/sys/fs/cgroup/memory/..", [outer, inner]) is outer
    assert find_hierarchy("/sys/fs", [outer, inner]) is None


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "cgroup" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to("cgroup/x")
    hierarchy = Hierarchy(str(tmp_path / "cgroup"), 2, (), "/")

    assert find_hierarchy(str(tmp_path / "link"), [hierarchy]) is hierarchy


def test_this_host_can_be_read() -> None:
    assert cgroup_mode(read_hierarchies()) in ("v1", "hybrid", "v2", "none")
