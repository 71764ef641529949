"""What bcc compiles: a main.c around the C sources, and stubs where it expects kernel headers.

The sources are found beside the compiled object (installed) or in bpf/ (a checkout).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from tracer.errors import HostError

# Helpers and file descriptors are far below.
_FIRST_NUMBER = 0x10000

_PROGRAM = re.compile(r"^(HOOK|RAW_HOOK|FENTRY|KPROBE|CALLED)\((\w+)[,)]", re.MULTILINE)
_FUNCTION = re.compile(r"^VERIFIED_ONCE\(\w+,\s+(\w+),\s+([^)]*)\)", re.MULTILINE)
_MAP = re.compile(r"^DEFINE_(?:MAP\(\w+, |MAPPED_ARRAY\(|RING\(|COUNTER\()(\w+)", re.MULTILINE)

# All that bcc's own headers ask of a kernel's; types.h holds what uapi/linux/types.h has.
STUB_HEADERS = {
    "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "linux/version.h": (
        "#define LINUX_VERSION_CODE 0\n"
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
    ),
    "linux/types.h": (
        "typedef unsigned char __u8, u8;\n"
        "typedef signed char __s8, s8;\n"
        "typedef unsigned short __u16, u16, __be16, __le16, __sum16;\n"
        "typedef short __s16, s16;\n"
        "typedef unsigned int __u32, u32, __be32, __le32, __wsum;\n"
        "typedef int __s32, s32;\n"
        "typedef unsigned long long __u64, u64, __be64, __le64;\n"
        "typedef long long __s64, s64;\n"
        "typedef __u64 __aligned_u64 __attribute__((aligned(8)));\n"
        "typedef unsigned long size_t, uintptr_t;\n"
        "typedef _Bool bool;\n"
        "#define true 1\n"
        "#define false 0\n"
        "#define NULL ((void *)0)\n"
        "#define __bitwise\n"
        "#define __always_inline inline __attribute__((always_inline))\n"
    ),
    "asm/page.h": "#define PAGE_SIZE 4096\n",
    "linux/bpf_common.h": "",
    "linux/log2.h": "",
    "uapi/linux/bpf.h": "",
    "uapi/linux/if_packet.h": "",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A BPF program.

    Attributes:
        kind: its macro in bpf/dialect.h, "HOOK" and so on.
        hook: tracepoint or kernel function.
    """

    kind: str
    hook: str

    @property
    def name(self) -> str:
        """Name of its C function."""
        prefix = f"{self.kind.lower()}_" if self.kind in ("FENTRY", "KPROBE") else ""
        return f"{prefix}{self.hook}"


@dataclass(slots=True)
class Definitions:
    """What the C sources define.

    Attributes:
        functions: names of the VERIFIED_ONCE functions, with how many arguments they take.
    """

    programs: list[Program] = field(default_factory=list)
    functions: dict[str, int] = field(default_factory=dict)
    maps: list[str] = field(default_factory=list)

    @property
    def program_names(self) -> list[str]:
        """Names of the programs' C functions."""
        return [program.name for program in self.programs]

    def numbers(self) -> dict[str, int]:
        """Number of each function and map, by which the code names it."""
        return {name: _FIRST_NUMBER + i for i, name in enumerate([*self.functions, *self.maps])}


def source_folder() -> str:
    """Where rtrace.bpf.c and its headers are.

    Raises:
        HostError: the package was built without them.
    """
    here = os.path.dirname(__file__)
    for folder in (os.path.join(here, "_bpf"), os.path.join(os.path.dirname(here), "bpf")):
        if os.path.exists(os.path.join(folder, "rtrace.bpf.c")):
            return folder
    raise HostError(
        "cannot find the sources of the BPF programs",
        f"{here}/_bpf/rtrace.bpf.c is missing",
        "install rtrace again",
    )


def find_definitions(folder: str) -> Definitions:
    """Programs, functions and maps in the headers of a folder."""
    found = Definitions()
    for name in sorted(os.listdir(folder)):
        if name.endswith(".h") and not name.startswith("dialect"):
            with open(os.path.join(folder, name)) as file:
                text = file.read()
            found.programs += [Program(kind, hook) for kind, hook in _PROGRAM.findall(text)]
            for function, arguments in _FUNCTION.findall(text):
                found.functions[function] = arguments.count(",") + 1
            found.maps += _MAP.findall(text)
    return found


def render_main(found: Definitions) -> str:
    """main.c: bcc gives out the code of functions that are in this very file and take one
    argument; the names are those that ``*_entry`` give.
    """
    lines = ['#include "rtrace.bpf.c"']
    for program in found.programs:
        lines.append(f"int {entry(program.name)}(u64 *ctx) {{ return {program.name}(ctx); }}")
    for name, count in found.functions.items():
        if count == 1:
            lines.append(f"u64 {entry(name)}(u64 first) {{ return {name}_body(first); }}")
        else:
            lines.append(
                f"u64 {entry(name)}(struct two_arguments a) "
                f"{{ return {name}_body(a.first, a.second); }}"
            )
    for name in found.maps:
        for part, expression in _MAP_PARTS.items():
            lines.append(
                f"u64 {map_entry(name, part)}(u64 *ctx) "
                f"{{ return {expression.replace('MAP', name)}; }}"
            )
    return "\n".join([*lines, ""])


_MAP_PARTS = {
    "sizes": "(u64)MAP.key_size << 32 | MAP.value_size",
    "kind": "(u64)MAP.type << 32 | MAP.flags",
    "entries": "MAP.entries",
}


def entry(name: str) -> str:
    """Name in main.c of a program or function."""
    return f"{name}_entry"


def map_entry(name: str, part: str) -> str:
    """Name in main.c of what returns a part of a map's definition: sizes, kind or entries."""
    return f"{name}_{part}"
