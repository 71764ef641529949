"""The C sources compiled by bcc, for the kernel that runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tracer.bcc_compiler import CompileError, compile_c
from tracer.bcc_source import (
    STUB_HEADERS,
    Definitions,
    entry,
    find_definitions,
    map_entry,
    render_main,
    source_folder,
)
from tracer.bpf_code import returned_constant
from tracer.btf import Btf
from tracer.ending import scratch_folder
from tracer.engine import BTF_PATH, DETAILS_RING_BYTES, Settings, possible_cpus
from tracer.errors import HostError
from tracer.kernel_headers import read_headers_layout
from tracer.kernel_types import parse_types, render_layout

FENTRY_FUNCTION = "proc_exit_connector"


@dataclass(frozen=True, slots=True)
class Map:
    """A map to create; see tracer.bpf_syscall.create_map."""

    map_type: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class CompiledPrograms:
    """What there is to load.

    Attributes:
        code: of each program and function, to be linked.
        maps: by name.
        fentry_id: BTF id of FENTRY_FUNCTION; None where the kernel has no BTF.
    """

    found: Definitions
    code: dict[str, bytes]
    maps: dict[str, Map]
    fentry_id: int | None


def compile_programs(settings: Settings) -> CompiledPrograms:
    """Compiles everything, with the settings built in.

    Raises:
        HostError: no bcc, neither BTF nor this kernel's headers, or bcc refuses the sources.
    """
    folder = source_folder()
    found = find_definitions(folder)
    try:
        layout, fentry_id = _read_layout(folder)
        code = _compile(folder, found, layout, _flags(found, settings))
        return CompiledPrograms(
            found,
            {name: code[entry(name)] for name in (*found.program_names, *found.functions)},
            {name: _read_map(name, code) for name in found.maps},
            fentry_id,
        )
    except CompileError as error:
        cause = f"bcc says: {error}"
    except ValueError as error:
        cause = str(error)
    raise HostError("cannot compile the BPF programs", cause, "use --engine core")


def _read_layout(folder: str) -> tuple[str, int | None]:
    """kernel_layout.h, and the BTF id of FENTRY_FUNCTION."""
    with open(os.path.join(folder, "kernel.h")) as file:
        types = parse_types(file.read())
    if not os.path.exists(BTF_PATH):
        return render_layout(types, read_headers_layout(types)), None
    with open(BTF_PATH, "rb") as file:
        btf = Btf(file.read(), {*types.names, FENTRY_FUNCTION})
    return render_layout(types, btf.read_layout(types)), btf.function_id(FENTRY_FUNCTION)


def _flags(found: Definitions, settings: Settings) -> list[str]:
    config = settings.config
    names = [description[0] for description in config._fields_]
    values = ",".join(f".{name}={getattr(config, name)}ULL" for name in names)
    return [
        *(f"-DNUMBER_{name}={number}" for name, number in found.numbers().items()),
        f"-DBYTES_events={settings.buffer_bytes}",
        f"-DBYTES_details={DETAILS_RING_BYTES}",
        f"-DCPUS={possible_cpus()}",
        f"-DSETTINGS={values}",
        "-g0",  # a fifth less to do
        "-Wno-int-conversion",  # a tracepoint's arguments are 64-bit words whatever they are
    ]


def _compile(folder: str, found: Definitions, layout: str, flags: list[str]) -> dict[str, bytes]:
    """Code of all functions in main.c, by their names there."""
    names = [entry(name) for name in (*found.program_names, *found.functions)]
    names += [map_entry(name, part) for name in found.maps for part in ("sizes", "kind", "entries")]
    with scratch_folder("rtrace-bcc-") as tree:
        for name, text in (STUB_HEADERS | {"kernel_layout.h": layout}).items():
            path = os.path.join(tree, "include", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
        include = [f"-I{folder}", f"-I{tree}/include"]
        return compile_c(render_main(found), [*include, *flags], names, tree)


def _read_map(name: str, code: dict[str, bytes]) -> Map:
    sizes, kind, entries = (
        returned_constant(code[map_entry(name, part)]) for part in ("sizes", "kind", "entries")
    )
    low = 0xFFFFFFFF
    return Map(kind >> 32, sizes >> 32, sizes & low, entries, kind & low)
