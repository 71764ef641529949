"""The bcc engine where something is missing: BTF, headers, bcc itself; and what it refuses."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
from pathlib import Path

import pytest

from tests.kernel.headers import make_headers, read_btf_layout, read_types
from tests.kernel.hosts import in_mount_namespace, run
from tests.kernel.recording import (
    RTRACE,
    Ended,
    Recorder,
    assert_failed,
    read_capture,
    run_rtrace,
    wait_for,
)
from tracer.abi import Type
from tracer.bcc_source import source_folder
from tracer.kernel_types import Layout, Place

pytestmark = pytest.mark.kernel

RELEASE = platform.release()
HIDE_BTF = "mount -t tmpfs none /sys/kernel/btf; "
# An overlay, since there may be no /lib/modules to mount something on.
ADD_HEADERS = (
    "scratch=$(mktemp -d); mount -t tmpfs none $scratch; mkdir $scratch/upper $scratch/work; "
    "lib=$(readlink -f /lib); mount -t overlay "
    "-o lowerdir=$lib,upperdir=$scratch/upper,workdir=$scratch/work none $lib; "
    'mkdir -p /lib/modules/$(uname -r); ln -s "$headers" /lib/modules/$(uname -r)/build; '
)
RUN = '"$@"'


def without_btf(headers: Path | None, *command: str | Path) -> list[str]:
    """A command on a host whose kernel has no BTF, with these headers."""
    if headers is None:
        return in_mount_namespace(HIDE_BTF + RUN, *command)
    script = "headers=$1; shift; " + ADD_HEADERS + HIDE_BTF + RUN
    return in_mount_namespace(script, headers, *command)


# --- types of the kernel ------------------------------------------------------------------------


def test_neither_btf_nor_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.rtrace"
    for engine in ("auto", "bcc"):
        ended = run(without_btf(None, RTRACE, "record", "-o", path, f"--engine={engine}"))

        assert_failed(ended, "has no BTF, and its headers are not in /lib/modules/", "install")
        assert RELEASE in ended.stderr.partition("install")[2]
        assert not path.exists()
    core = run(without_btf(None, RTRACE, "record", "-o", path, "--engine=core"))
    assert_failed(
        core, "this kernel has no BTF (/sys/kernel/btf/vmlinux is missing); use --engine bcc"
    )

    doctor = run(without_btf(None, RTRACE, "doctor"))

    assert (doctor.status, doctor.stderr) == (1, "")
    assert "-   BTF: this kernel has no BTF (/sys/kernel/btf/vmlinux is missing)" in doctor.stdout
    assert "-   bcc engine: this kernel has no BTF, and its headers are not in" in doctor.stdout
    assert "-   engine: bcc: this kernel has no BTF" in doctor.stdout
    assert "NO  BPF programs: this kernel has no BTF, and its headers" in doctor.stdout


def test_headers_of_another_kernel(tmp_path: Path) -> None:
    make_headers(tmp_path / "headers", "5.10.0-1-amd64")
    path = tmp_path / "x.rtrace"

    ended = run(without_btf(tmp_path / "headers", RTRACE, "record", "-o", path))

    assert_failed(
        ended,
        f"/lib/modules/{RELEASE}/build has the headers of kernel 5.10.0-1-amd64",
        f"this one is {RELEASE}",
        "install",
    )
    assert not path.exists()


def test_the_kernels_own_headers(tmp_path: Path) -> None:
    # GIVEN a host without BTF that has the headers
    make_headers(tmp_path / "headers", RELEASE)
    path = tmp_path / "x.rtrace"
    command = ["sh", "-c", "/bin/true of-headers; exit 3", "tester"]

    # WHEN something is recorded, whatever others have set for bcc
    record = run(
        without_btf(tmp_path / "headers", RTRACE, "record", "-o", path, "--", *command),
        env=os.environ | {"BCC_KERNEL_SOURCE": "/nonexistent", "ARCH": "arm"},
    )
    doctor = run(without_btf(tmp_path / "headers", RTRACE, "doctor"))

    # THEN auto is bcc, and it is recorded
    assert record.status == 3, record.stderr
    capture = read_capture(path)
    assert capture.header["engine"] == "bcc"
    capture.since_ns = capture.header["clock"]["boot_ns"]  # tgids are soon used again
    (shell,) = [
        d.tgid for d in capture.details() if d.args == (b"sh", *map(str.encode, command[1:]))
    ]
    assert capture.event(shell, Type.EXIT).exit.exit_code == 3 << 8
    forked = capture.event(shell, Type.FORK).fork
    (child,) = [e for e in capture.events(kind=Type.FORK) if e.fork.parent_tgid == shell]
    assert capture.exec_detail(child.tgid).args == (b"/bin/true", b"of-headers")
    # with the snapshots
    capture.since_ns = 0
    recorder = capture.header["pid"]
    start, end = capture.tasks("start"), capture.tasks("end")
    assert start[recorder].start_ns == end[recorder].start_ns == forked.parent_start_ns
    assert start[os.getpid()].comm == Path("/proc/self/comm").read_bytes().strip()
    # and doctor says so.
    assert doctor.status == 0, doctor.stdout
    assert f"-   bcc engine: ready, with the headers in /lib/modules/{RELEASE}" in doctor.stdout
    assert "ok  BPF programs: load and attach" in doctor.stdout


def test_headers_say_what_btf_says(tmp_path: Path) -> None:
    make_headers(tmp_path / "headers", RELEASE)
    code = (
        "from tests.kernel.headers import read_types\n"
        "from tracer.kernel_headers import read_headers_layout\n"
        "print(repr(read_headers_layout(read_types())))"
    )

    read = run(
        without_btf(tmp_path / "headers", sys.executable, "-c", code),
        cwd=Path(__file__).parents[2],
    )

    assert read.status == 0, read.stderr
    found: Layout = eval(read.stdout, {"Layout": Layout, "Place": Place})
    expected = read_btf_layout(read_types())
    assert found.values == expected.values
    assert {place: at.offset for place, at in found.places.items()} == {
        place: at.offset for place, at in expected.places.items()
    }
    assert expected.sizes.items() <= found.sizes.items()


# --- bcc ----------------------------------------------------------------------------------------


def hide_bcc(script: str) -> str:
    """A script that does something to the folder of the module bcc, as $bcc."""
    spec = run(
        [sys.executable, "-c", "import importlib.util as u; print(u.find_spec('bcc').origin)"]
    )
    return f"bcc={Path(spec.stdout.strip()).parent}; {script}; {RUN}"


def record_with(script: str, path: Path) -> Ended:
    return run(in_mount_namespace(script, RTRACE, "record", "--engine=bcc", "-o", path))


def test_no_bcc(tmp_path: Path) -> None:
    script = hide_bcc("mount -t tmpfs none $bcc")

    ended = record_with(script, tmp_path / "x.rtrace")
    doctor = run(in_mount_namespace(script, RTRACE, "doctor"))

    assert_failed(ended, "python3-bpfcc is not visible to ", "apt-get install python3-bpfcc")
    assert not (tmp_path / "x.rtrace").exists()
    assert doctor.status == 0
    assert "-   bcc engine: python3-bpfcc is not visible to " in doctor.stdout
    assert "-   engine: core: this kernel has BTF" in doctor.stdout


def test_another_package_called_bcc(tmp_path: Path) -> None:
    script = hide_bcc("mount -t tmpfs none $bcc; echo 'x = 1' > $bcc/__init__.py")

    ended = record_with(script, tmp_path / "x.rtrace")

    assert_failed(ended, "is PyPI's bcc, an unrelated package; remove it")


def test_a_bcc_that_cannot_be_loaded(tmp_path: Path) -> None:
    library = "$(readlink -f /usr/lib/x86_64-linux-gnu/libbcc.so.0)"

    ended = record_with(f'mount --bind /dev/null "{library}"; {RUN}', tmp_path / "x.rtrace")

    assert_failed(ended, "bcc cannot be loaded (", "apt-get install python3-bpfcc")


def with_source(name: str, old: str, new: str, tmp_path: Path) -> str:
    """A script on a host where a source of the programs is another."""
    source = Path(source_folder(), name)
    changed = source.read_text().replace(old, new, 1)
    assert changed != source.read_text()
    (tmp_path / name).write_text(changed)
    return f"mount --bind {tmp_path / name} {source}; {RUN}"


def test_a_source_that_bcc_refuses(tmp_path: Path) -> None:
    script = with_source(
        "signals.h", "struct rtrace_event *event;", "struct no_such *event", tmp_path
    )

    ended = record_with(script, tmp_path / "x.rtrace")

    assert_failed(ended, "cannot compile the BPF programs: bcc says: ", "; use --engine core")
    assert not (tmp_path / "x.rtrace").exists()


def test_a_kernel_whose_types_are_others(tmp_path: Path) -> None:
    script = with_source("kernel.h", "int exit_state;", "long exit_state;", tmp_path)

    ended = record_with(script, tmp_path / "x.rtrace")

    assert_failed(ended, "struct task_struct.exit_state has 4 bytes in this kernel")


def test_a_kernel_that_lacks_a_field(tmp_path: Path) -> None:
    script = with_source("kernel.h", "int exit_state;", "int exit_state;\n\tint no_such;", tmp_path)

    ended = record_with(script, tmp_path / "x.rtrace")

    assert_failed(ended, "this kernel has no struct task_struct.no_such; ")


def test_a_program_that_the_verifier_refuses(tmp_path: Path) -> None:
    script = with_source("snapshot.h", "if (index < ROOM_TASKS) {", "{", tmp_path)

    ended = record_with(script, tmp_path / "x.rtrace")

    assert_failed(ended, "cannot load the BPF program snapshot: ", "run rtrace doctor")
    assert "map_value pointer" in ended.stderr


def test_it_is_refused_without_rights_before_it_compiles(tmp_path: Path) -> None:
    limited = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    ended = run([*limited, RTRACE, "record", "--engine=bcc", "-o", tmp_path / "x.rtrace"])

    assert_failed(ended, "CAP_BPF and CAP_PERFMON missing", "run it as root")
    assert "rtrace_probe" not in ended.stderr


def test_a_folder_called_bcc_is_not_imported(tmp_path: Path) -> None:
    for name in ("bcc", "tracer", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("open('/dev/full', 'w').write('imported')")

    ended = run_rtrace(
        "record", "--engine=bcc", "--duration=1ms", "-o", tmp_path / "x.rtrace", cwd=tmp_path
    )

    assert ended.status == 0, ended.stderr


def test_a_compiler_that_is_interrupted(tmp_path: Path) -> None:
    # As a terminal does it: everybody in the foreground gets the signal.
    with Recorder(tmp_path, "--engine=bcc", start_new_session=True) as recording:
        children = Path(f"/proc/{recording.pid}/task/{recording.pid}/children")
        wait_for(lambda: "tracer.bcc_compiler" in command_lines(children), "the compiler")
        os.killpg(recording.pid, signal.SIGINT)
        ended = recording.stop(None)

    assert_failed(ended, "SIGINT ended the compiler; try again")
    assert not recording.path.exists()


def command_lines(children: Path) -> str:
    """Of processes that may be gone."""
    lines = []
    for pid in children.read_text().split():
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_text())
    return " ".join(lines)


def test_nothing_of_bcc_is_left(tmp_path: Path) -> None:
    # GIVEN a folder for temporary files of its own
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    with Recorder(tmp_path, "--engine=bcc", env=environment) as recording:
        recording.wait_until_recording()
        # THEN LLVM is not in the recorder's memory
        maps = Path(f"/proc/{recording.pid}/maps").read_text()
        assert not [line for line in maps.splitlines() if "LLVM" in line or "libbcc" in line]
        children = Path(f"/proc/{recording.pid}/task/{recording.pid}/children")
        assert children.read_text() == ""
        ended = recording.stop()
    # and neither files nor words are left.
    assert ended.status == 0
    assert not list((tmp_path / "tmp").iterdir())
    assert len(ended.stderr.splitlines()) == 2
