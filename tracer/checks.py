"""What this host allows: one small question each, for `rtrace doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable

from tracer import abi
from tracer.bcc_compiler import explain_missing_bcc
from tracer.cgroups import cgroup_mode, naming_controller, read_hierarchies
from tracer.check import Check
from tracer.confirmation import Confirmation, fentry_allowed, kprobe_allowed
from tracer.core_engine import object_path
from tracer.engine import BTF_PATH, Settings
from tracer.engines import choose_engine, open_engine
from tracer.errors import HostError
from tracer.kernel_headers import headers_folder, require_headers
from tracer.kernels import MINIMUM, Support, find_support, series_name
from tracer.libbpf import library
from tracer.privileges import explain_missing_btf, missing_to_record
from tracer.shortfalls import sockets_unread
from tracer.surroundings import (
    check_container_files,
    check_docker_socket,
    check_jit,
    check_kept,
    check_limits,
    check_lockdown,
    check_namespaces,
    check_priority,
    check_privileges,
    check_proc,
)

_RUNTIMES = ("dockerd", "containerd", "runc", "podman", "crun")


def run_checks() -> list[Check]:
    """All checks, those that explain the others first."""
    checks: list[Callable[[], Check]] = [
        check_machine,
        check_kernel,
        check_privileges,
        check_kept,
        check_lockdown,
        check_namespaces,
        check_limits,
        check_btf,
        check_libbpf,
        check_object,
        check_fentry,
        check_kprobe,
        check_bcc,
        check_engine,
        check_programs,
        check_jit,
        check_proc,
        check_container_files,
        check_docker_socket,
        check_priority,
        check_cgroups,
        check_tracefs,
        check_runtimes,
    ]
    return [check() for check in checks]


def check_machine() -> Check:
    """x86-64 Linux."""
    system, machine = platform.system(), platform.machine()
    ok = system == "Linux" and machine == "x86_64"
    step = "" if ok else "rtrace records on Linux on x86-64 only; reports work everywhere"
    return Check("machine", ok, f"{system} {machine}", step)


def check_kernel() -> Check:
    """Old enough kernels lack what is needed; others are tested or not, see tracer.kernels."""
    release = platform.release()
    support = find_support(release)
    fact = f"{release} ({support.value})"
    if support is Support.TOO_OLD:
        return Check("kernel", False, fact, f"boot {series_name(MINIMUM)} or newer")
    return Check("kernel", None if support is Support.UNKNOWN else True, fact)


def check_btf() -> Check:
    """The kernel's own type information, which the core engine relocates against."""
    if os.path.exists(BTF_PATH):
        return Check("BTF", True, BTF_PATH)
    return Check("BTF", None, *explain_missing_btf(BTF_PATH))


def check_libbpf() -> Check:
    """libbpf.so.1, which the core engine needs."""
    try:
        library()
    except HostError as error:
        return Check("libbpf", None, error.cause, error.step)
    return Check("libbpf", True, "libbpf.so.1")


def check_object() -> Check:
    """The compiled programs, which the core engine needs."""
    try:
        path = object_path()
    except HostError as error:
        return Check("BPF object", None, error.cause, error.step)
    return Check("BPF object", True, f"{os.path.getsize(path):,} bytes")


def check_fentry() -> Check:
    """The cheapest way to confirm reparents."""
    if missing := missing_to_record():
        return Check(
            "confirm by fentry", None, f"not known without {' and '.join(map(str, missing))}"
        )
    allowed = fentry_allowed()
    return Check("confirm by fentry", None, "allowed" if allowed else "this kernel refuses it")


def check_kprobe() -> Check:
    """The next cheapest."""
    allowed = kprobe_allowed()
    fact = "allowed" if allowed else "this kernel has no kprobes (CONFIG_KPROBES)"
    return Check("confirm by kprobe", None, fact)


def check_bcc() -> Check:
    """Whether the bcc engine could be used: bcc, and where it has the kernel's types from."""
    if missing := explain_missing_bcc():
        return Check("bcc engine", None, missing.cause, missing.step)
    if os.path.exists(BTF_PATH):
        return Check("bcc engine", None, "ready, with the kernel's types from BTF")
    release = platform.release()
    try:
        require_headers(release)
    except HostError as error:
        return Check("bcc engine", None, error.cause, error.step)
    return Check("bcc engine", None, f"ready, with the headers in {headers_folder(release)}")


def check_engine() -> Check:
    """Which engine `rtrace record` uses if it is not told."""
    name, reason = choose_engine()
    return Check("engine", None, f"{name}: {reason}")


def check_programs() -> Check:
    """The whole thing, for real: load, verify, attach, one snapshot."""
    config = abi.Config(v1_controller=naming_controller(read_hierarchies()))
    try:
        engine = open_engine("auto", Settings(1 << 20, config))
    except HostError as error:
        cause = error.cause or error.fact
        return Check("BPF programs", False, cause, error.step)
    try:
        os.close(engine.open_snapshot())
        if engine.sockets_refused is None:
            os.close(engine.open_sockets())
        used = Confirmation(engine.confirmation)
    except HostError as error:
        return Check("BPF programs", False, error.cause or error.fact, error.step)
    finally:
        engine.close()
    fact = f"load and attach; reparents are confirmed by {used.value}"
    if engine.sockets_refused is not None:
        fact += f"; {sockets_unread(engine.sockets_refused)}"
    if engine.name != choose_engine()[0]:
        fact += f"; the kernel refuses those of the other engine, so {engine.name} is used"
    return Check("BPF programs", True, fact)


def check_cgroups() -> Check:
    """Where containers have their cgroups."""
    hierarchies = read_hierarchies()
    mode = cgroup_mode(hierarchies)
    controller = naming_controller(hierarchies)
    beside = f", names from the v1 {controller.name.lower()} hierarchy too" if controller else ""
    return Check("cgroups", None, f"{mode}{beside}")


def check_tracefs() -> Check:
    """Not needed: the programs are attached by BTF and as raw tracepoints."""
    for path in ("/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"):
        if os.path.isdir(path):
            return Check("tracefs", None, f"{os.path.dirname(path)} (not needed)")
    return Check("tracefs", None, "not mounted, and not needed")


def check_runtimes() -> Check:
    """Container runtimes on PATH."""
    found = [name for name in _RUNTIMES if shutil.which(name)]
    return Check("runtimes on PATH", None, ", ".join(found) or "none")
