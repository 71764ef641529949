"""bpf/kernel.h as data, BTF of a few types made by the host's compiler, and what bcc gets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import is_required
from tracer.bcc_source import find_definitions, render_main
from tracer.btf import Btf
from tracer.errors import HostError
from tracer.kernel_types import Layout, Place, parse_types, render_layout

BPF = Path(__file__).resolve().parents[2] / "bpf"

SLICE = """
#ifndef RTRACE_CORE
#include "kernel_layout.h"
#else
typedef struct {
	int counter;
} atomic_t;

struct inner { /* comment; with { things } */
	unsigned char *pointer;
};

struct outer {
	atomic_t count;
	unsigned int flag : 1;
	struct inner inner;
	char name[16];
	struct inner list[0];
	unsigned long deep;
};

struct outer___since_9_1 {
	int newer;
};

enum which {
	first_one = 1,
	no_such = 2,
};
#endif /* RTRACE_CORE */
"""

KERNEL = """
typedef struct { int counter; } atomic_t;
struct inner { char before[24]; unsigned char *pointer; };
struct outer {
	long long other;
	const atomic_t count;
	unsigned int a : 3, flag : 1;
	union { struct { int x; const volatile unsigned long deep; }; char room[64]; };
	char name[16];
	struct inner inner;
	struct inner list[4];
};
enum which { zeroth = -3, first_one = 5 };
struct outer all;
enum which some = zeroth;
"""


@pytest.fixture(scope="module")
def kernel_btf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """BTF of KERNEL, as clang writes it."""
    folder = tmp_path_factory.mktemp("btf")
    tools = [tool for tool in ("clang", "objcopy") if shutil.which(tool) is None]
    if tools:
        (pytest.fail if is_required() else pytest.skip)(f"missing: {', '.join(tools)}")
    (folder / "kernel.c").write_text(KERNEL)
    made, btf = folder / "kernel.o", folder / "kernel.btf"
    command = ["clang", "-target", "bpf", "-g", "-c", folder / "kernel.c", "-o", made]
    subprocess.run(command, check=True)
    # binutils know nothing of BPF, but enough of ELF.
    take = ["objcopy", "--input-target=elf64-little", f"--dump-section=.BTF={btf}", made]
    subprocess.run(take, check=True)
    return btf.read_bytes()


def read_layout(data: bytes) -> Layout:
    types = parse_types(SLICE)
    return Btf(data, types.names).read_layout(types)


def test_fields_are_found_in_btf(kernel_btf: bytes) -> None:
    layout = read_layout(kernel_btf)

    assert layout.places == {
        ("atomic_t", "counter"): Place(0, 4),
        ("inner", "pointer"): Place(24, 8),
        ("outer", "count"): Place(8, 4),
        ("outer", "flag"): Place(12 * 8 + 3, 4),  # in bits
        ("outer", "deep"): Place(24, 8),  # in a struct in a union
        ("outer", "name"): Place(80, 16),
        ("outer", "inner"): Place(96, 32),
        ("outer", "list"): Place(128, 128),
    }
    assert layout.sizes == {"atomic_t": 4, "inner": 32, "outer": 256}
    assert layout.values == {"first_one": 5}


def test_what_bcc_gets_has_the_kernels_layout(kernel_btf: bytes, tmp_path: Path) -> None:
    header = render_layout(parse_types(SLICE), read_layout(kernel_btf))
    program = (
        "#include <stdio.h>\n#include <stddef.h>\ntypedef unsigned char u8;\n"
        f"{header}\n#define AT(type, field) (int)offsetof(struct type, field)\n"
        'int main(void) { printf("%d %d %d %d %d %d %d %d %d\\n", AT(inner, pointer), '
        "AT(outer, count.counter), AT(outer, deep), AT(outer, list), AT(outer, flag_byte), "
        "flag_shift, HAS_outer___since_9_1_newer, first_one, no_such); }\n"
    )
    (tmp_path / "main.c").write_text(program)

    subprocess.run(["gcc", tmp_path / "main.c", "-o", tmp_path / "main"], check=True)

    told = subprocess.run([tmp_path / "main"], check=True, capture_output=True, text=True)
    assert told.stdout == "24 8 24 128 12 3 0 5 -1\n"


def test_fields_of_another_size_are_refused(kernel_btf: bytes, tmp_path: Path) -> None:
    types = parse_types(SLICE.replace("unsigned long deep", "unsigned int deep"))
    header = render_layout(types, Btf(kernel_btf, types.names).read_layout(types))
    (tmp_path / "main.c").write_text(f"typedef unsigned char u8;\n{header}")

    made = subprocess.run(
        ["gcc", "-fsyntax-only", tmp_path / "main.c"], check=False, capture_output=True, text=True
    )

    assert made.returncode != 0
    assert "struct outer.deep has 8 bytes in this kernel" in made.stderr


def test_a_field_that_the_kernel_lacks_is_refused() -> None:
    types = parse_types(SLICE.replace("char name[16]", "char title[16]"))
    layout = Layout({}, {(s.tag, f.name): Place(0, 4) for s, f in types.fields()})
    del layout.places["outer", "title"]

    with pytest.raises(HostError, match=r"this kernel has no struct outer\.title"):
        render_layout(types, layout)


def test_it_is_not_btf() -> None:
    with pytest.raises(ValueError, match="not BTF"):
        Btf(bytes(64), set())


def test_the_programs_types_and_definitions_are_all_found() -> None:
    header = (BPF / "kernel.h").read_text()
    types, found = parse_types(header), find_definitions(str(BPF))

    assert len(types.structs) == header.count(" {\n") - len(types.enums) - 1  # siginfo is ABI
    text = "".join(path.read_text() for path in BPF.glob("*.h") if "dialect" not in path.name)
    assert len(found.functions) == text.count("VERIFIED_ONCE(")
    assert len(found.maps) == text.count("\nDEFINE_") - text.count("\nDEFINE_SETTINGS")
    assert len(found.programs) == sum(
        text.count(f"\n{kind}(") for kind in ("HOOK", "RAW_HOOK", "FENTRY", "KPROBE", "CALLED")
    )
    assert set(found.functions.values()) <= {1, 2}
    main = render_main(found)
    assert "int fentry_proc_exit_connector_entry(u64 *ctx)" in main
    assert len(set(found.numbers().values())) == len(found.functions) + len(found.maps)
