"""The running kernel's types from its headers, for kernels without BTF.

Headers of any other kernel compile as well, and give silently wrong data: so they are compared
with the kernel that runs before anything is taken from them.
"""

from __future__ import annotations

import os
import platform
import re

from tracer.bcc_compiler import compile_c
from tracer.bpf_code import find_loaded_bit, returned_constant
from tracer.errors import HostError
from tracer.kernel_types import Field, KernelTypes, Layout, Place, Struct

_RELEASE = re.compile(r'#define\s+UTS_RELEASE\s+"([^"]*)"')
_VARIANT = re.compile(r"___(before|since)_(\d+)_(\d+)$")
INCLUDES = (
    "linux/binfmts.h",
    "linux/cgroup-defs.h",
    "linux/dcache.h",
    "linux/fdtable.h",
    "linux/fs.h",
    "linux/idr.h",
    "linux/kernfs.h",
    "linux/mm_types.h",
    "linux/net.h",
    "linux/pid.h",
    "linux/pid_namespace.h",
    "linux/sched.h",
    "linux/sched/signal.h",
    "linux/version.h",
    "linux/xarray.h",
    "net/af_unix.h",
    "net/net_namespace.h",
    "net/sock.h",
)
_MISSING = 0xFFFFFFFF  # offset of a field that this version does not have


def read_headers_layout(types: KernelTypes) -> Layout:
    """Where the fields lie, compiled out of the running kernel's headers.

    Raises:
        HostError: they are not installed, or are another kernel's.
        CompileError: bcc cannot compile them.
    """
    require_headers(platform.release())
    asked = {f"ask_{i}": question for i, question in enumerate(types.fields())}
    sizes = {f"size_{i}": struct for i, struct in enumerate(types.structs)}
    values = {f"value_{name}": name for names in types.enums.values() for name in names}
    source = [
        *(f"#include <{header}>" for header in INCLUDES),
        *(_ask_field(name, struct, member) for name, (struct, member) in asked.items()),
        *(_ask_size(name, struct) for name, struct in sizes.items()),
        *(_ask_subsystem(name, constant) for name, constant in values.items()),
    ]
    code = compile_c("\n".join([*source, ""]), ["-g0"], [*asked, *sizes, *values], None)
    layout = Layout()
    for name, (struct, member) in asked.items():
        if member.bits:
            layout.places[struct.tag, member.name] = Place(find_loaded_bit(code[name]), 0)
            continue
        answer = returned_constant(code[name])
        if answer >> 32 != _MISSING:
            place = Place(answer >> 32, answer & 0xFFFFFFFF)
            layout.places[struct.tag, member.name] = place
    for name, struct in sizes.items():
        layout.sizes[struct.tag] = returned_constant(code[name])
    for name, constant in values.items():
        if index := returned_constant(code[name]):
            layout.values[constant] = index - 1
    return layout


def headers_folder(release: str) -> str:
    """Where a kernel's headers belong, and where bcc looks for them."""
    return f"/lib/modules/{release}/build"


def find_headers_release(folder: str) -> str | None:
    """The kernel that headers are for; None if there are no headers.

    Debian's packages are split: what is common to all flavours is in a folder of its own, and
    what says for which kernel they are is not.
    """
    if not os.path.exists(os.path.join(folder, "include/generated/autoconf.h")):
        return None
    try:
        with open(os.path.join(folder, "include/generated/utsrelease.h")) as file:
            found = _RELEASE.search(file.read())
    except OSError:
        return None
    return found[1] if found else None


def require_headers(release: str) -> None:
    """Whether a kernel's own headers are where bcc looks for them.

    Raises:
        HostError: they are not, or another kernel's are.
    """
    folder = headers_folder(release)
    found = find_headers_release(folder)
    if found == release:
        return
    cause = f"this kernel has no BTF, and its headers are not in {folder}"
    if found is not None:
        cause = f"{folder} has the headers of kernel {found}, and this one is {release}"
    raise HostError("cannot compile the BPF programs", cause, installation_of_headers(release))


def installation_of_headers(release: str) -> str:
    """How to install the headers of a kernel on this distribution."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    family = {system.get("ID", ""), *system.get("ID_LIKE", "").split()}
    if family & {"debian", "ubuntu"}:
        return f"apt-get install linux-headers-{release}"
    if family & {"fedora", "rhel", "centos"}:
        return f"dnf install kernel-devel-{release}"
    return f"install the headers of kernel {release} (linux-headers or kernel-devel)"


def _function(name: str, expression: str) -> str:
    return f"u64 {name}(void *ctx) {{ return {expression}; }}"


def _ask_field(name: str, struct: Struct, member: Field) -> str:
    c_name = struct.kernel_name if struct.is_typedef else f"struct {struct.kernel_name}"
    if member.bits:
        return f"u64 {name}({c_name} *at) {{ return at->{member.name}; }}"
    size = "0" if member.open else f"sizeof((({c_name} *)0)->{member.name})"
    place = _function(name, f"(u64)__builtin_offsetof({c_name}, {member.name}) << 32 | {size}")
    return _for_versions(struct, place, _function(name, f"(u64){_MISSING:#x} << 32"))


def _ask_size(name: str, struct: Struct) -> str:
    c_name = struct.kernel_name if struct.is_typedef else f"struct {struct.kernel_name}"
    return _function(name, f"sizeof({c_name})")


def _ask_subsystem(name: str, constant: str) -> str:
    """The constant and one; 0 if the kernel was built without that controller."""
    subsystem = constant.removesuffix("_cgrp_id")
    return (
        f"u64 {name}(void *ctx) {{ return 0\n"
        f'#define SUBSYS(x) + (__builtin_strcmp(#x, "{subsystem}") ? 0 : x##_cgrp_id + 1)\n'
        "#include <linux/cgroup_subsys.h>\n"
        "#undef SUBSYS\n"
        "; }"
    )


def _for_versions(struct: Struct, has: str, has_not: str) -> str:
    variant = _VARIANT.search(struct.tag)
    if variant is None:
        return has
    sign = {"before": "<", "since": ">="}[variant[1]]
    condition = f"LINUX_VERSION_CODE {sign} KERNEL_VERSION({variant[2]}, {variant[3]}, 0)"
    return f"#if {condition}\n{has}\n#else\n{has_not}\n#endif"
