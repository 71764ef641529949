"""Kernel headers for the kernel that runs, as small as they can be: made from its BTF.

Test machines have no headers of their kernel, or not all. These hold the structs that rtrace
asks for, laid out as in the kernel, in the files in which bcc and rtrace look for them.
"""

from __future__ import annotations

from pathlib import Path

from tracer.bcc_source import STUB_HEADERS, source_folder
from tracer.btf import Btf
from tracer.engine import BTF_PATH
from tracer.kernel_headers import INCLUDES
from tracer.kernel_types import KernelTypes, Layout, parse_types


def read_types() -> KernelTypes:
    """What bpf/kernel.h declares."""
    return parse_types(Path(source_folder(), "kernel.h").read_text())


def read_btf_layout(types: KernelTypes) -> Layout:
    """The running kernel's layout."""
    return Btf(Path(BTF_PATH).read_bytes(), types.names).read_layout(types)


def make_headers(folder: Path, release: str) -> None:
    """Writes what /lib/modules/RELEASE/build has, as far as it is asked for."""
    types = read_types()
    layout = read_btf_layout(types)
    files = STUB_HEADERS | dict.fromkeys(INCLUDES, "#include <linux/types.h>\n")
    files["linux/sched.h"] = _render_structs(types, layout)
    files["linux/cgroup_subsys.h"] = "".join(
        f"SUBSYS({name.removesuffix('_cgrp_id')})\n" for name in layout.values
    )
    files["linux/version.h"] = STUB_HEADERS["linux/version.h"].replace(
        "LINUX_VERSION_CODE 0", f"LINUX_VERSION_CODE {_version_code(release)}"
    )
    files["generated/autoconf.h"] = ""
    files["generated/utsrelease.h"] = f'#define UTS_RELEASE "{release}"\n'
    for name, text in files.items():
        path = folder / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _version_code(release: str) -> int:
    major, minor, *_ = release.split(".")
    return int(major) << 16 | int(minor) << 8


def _render_structs(types: KernelTypes, layout: Layout) -> str:
    """The kernel's own names, real bit fields, and members in any order: a union of them."""
    members: dict[str, list[str]] = {}
    for struct, member in types.fields():
        place = layout.places.get((struct.tag, member.name))
        if place is None:
            continue
        before = f"char before_{member.name}[{place.offset}];"
        declaration = member.declaration
        if member.bits:
            before = f"char before_{member.name}[{place.offset // 8}];"
            if place.offset % 8:
                before += f" unsigned char bits_before_{member.name} : {place.offset % 8};"
            declaration = f"unsigned char {member.name} : {member.bits}"
        members.setdefault(struct.kernel_name, []).append(f"struct {{ {before} {declaration}; }};")
    lines = ["#include <linux/types.h>"]
    lines += [f"struct {struct.kernel_name};" for struct in types.structs if not struct.is_typedef]
    for struct in types.structs:
        if struct.is_variant:
            continue
        size = f"char whole[{layout.sizes[struct.tag]}];"
        body = f"{{ union {{ {size} {' '.join(members[struct.kernel_name])} }}; }}"
        if struct.is_typedef:
            lines.append(f"typedef struct {body} {struct.tag};")
        else:
            lines.append(f"struct {struct.tag} {body};")
    for tag, names in types.enums.items():
        values = ", ".join(
            f"{name} = {layout.values[name]}" for name in names if name in layout.values
        )
        lines.append(f"enum {tag} {{ {values} }};")
    return "\n".join([*lines, ""])
