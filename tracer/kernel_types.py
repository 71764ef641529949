"""The kernel types of bpf/kernel.h, written down as they lie in the running kernel.

Core programs are relocated by libbpf when they are loaded. For bcc the layout is looked up first
(tracer.btf, tracer.kernel_headers) and compiled in: each struct becomes a union of its fields, each
behind as many bytes as are before it in the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tracer.errors import HostError

_TYPES = re.compile(r"#ifndef RTRACE_CORE\n.*?#else\n(.*?)#endif /\* RTRACE_CORE \*/", re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DEFINITION = re.compile(
    r"(?P<typedef>typedef )?(?P<kind>struct|enum) ?(?P<tag>\w*) \{(?P<body>[^}]*)\} ?(?P<name>\w*);"
)
_FIELD = re.compile(r"(\w+)(?: : (\d+)|\[(\d+)\])?$")


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a struct.

    Attributes:
        declaration: in C, without the semicolon.
        bits: 0: it is no bit field.
        open: an array of whose length nothing is known.
    """

    name: str
    declaration: str
    bits: int = 0
    open: bool = False


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct, or a typedef of one.

    Attributes:
        tag: with the ___suffix, if it has one.
        fields: by name.
    """

    tag: str
    is_typedef: bool
    fields: dict[str, Field]

    @property
    def kernel_name(self) -> str:
        """What the kernel calls it."""
        return self.tag.partition("___")[0]

    @property
    def is_variant(self) -> bool:
        """Whether there are kernels without it."""
        return "___" in self.tag

    @property
    def c_name(self) -> str:
        """With or without `struct`."""
        return self.tag if self.is_typedef else f"struct {self.tag}"


@dataclass(frozen=True, slots=True)
class KernelTypes:
    """What bpf/kernel.h declares: structs, and names of constants by enum."""

    structs: list[Struct]
    enums: dict[str, list[str]]

    @property
    def names(self) -> set[str]:
        """What the kernel calls them."""
        return {struct.kernel_name for struct in self.structs} | set(self.enums)

    def fields(self) -> Iterator[tuple[Struct, Field]]:
        """All fields of all structs."""
        return ((struct, member) for struct in self.structs for member in struct.fields.values())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies: offset in bytes, for a bit field in bits; size in bytes."""

    offset: int
    size: int


@dataclass(slots=True)
class Layout:
    """A kernel's layout of the types: what it does not have is missing.

    Attributes:
        sizes: of structs by tag, in bytes.
        places: of fields by tag and name.
        values: of enum constants.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)


def parse_types(source: str) -> KernelTypes:
    """Reads bpf/kernel.h."""
    found = _TYPES.search(source)
    assert found, "bpf/kernel.h: no types"
    types = KernelTypes([], {})
    for definition in _DEFINITION.finditer(_COMMENT.sub("", found[1])):
        body, tag = definition["body"], definition["tag"] or definition["name"]
        if definition["kind"] == "enum":
            types.enums[tag] = re.findall(r"(\w+) =", body)
            continue
        fields = {}
        for declaration in filter(None, map(str.strip, body.split(";"))):
            parts = _FIELD.search(declaration)
            assert parts, declaration
            fields[parts[1]] = Field(
                parts[1], declaration, int(parts[2] or 0), open=parts[3] == "0"
            )
        types.structs.append(Struct(tag, bool(definition["typedef"]), fields))
    return types


def render_layout(types: KernelTypes, layout: Layout) -> str:
    """kernel_layout.h: the types for bpf/dialect_bcc.h.

    Raises:
        HostError: the kernel lacks something that the programs cannot do without.
    """
    lines = []
    for struct in types.structs:
        if struct.is_typedef:
            lines.append("typedef struct {\n\tunion {")
        else:
            lines.append(f"struct {struct.tag} {{\n\tunion {{")
        lines.append(f"\t\tchar whole[{layout.sizes.get(struct.tag, 0)}];")
        after = []
        for member in struct.fields.values():
            place = layout.places.get((struct.tag, member.name))
            if place is None and not struct.is_variant:
                raise HostError(
                    "cannot compile the BPF programs",
                    f"this kernel has no {struct.c_name}.{member.name}",
                    "use --engine core, or another kernel",
                )
            after += _constants(struct, member, place)
            lines.append(_member(member, place or Place(0, 0)))
        lines.append("\t};\n" + (f"}} {struct.tag};" if struct.is_typedef else "};"))
        lines += after
    for tag, names in types.enums.items():
        values = ", ".join(f"{name} = {layout.values.get(name, -1)}" for name in names)
        lines.append(f"enum {tag} {{ {values} }};")
    return "\n".join([*_forward_declarations(types), *lines, ""])


def _forward_declarations(types: KernelTypes) -> list[str]:
    return [f"struct {struct.tag};" for struct in types.structs if not struct.is_typedef]


def _member(member: Field, place: Place) -> str:
    if member.bits:
        return (
            f"\t\tstruct {{ char p_{member.name}[{place.offset // 8}]; u8 {member.name}_byte; }};"
        )
    return f"\t\tstruct {{ char p_{member.name}[{place.offset}]; {member.declaration}; }};"


def _constants(struct: Struct, member: Field, place: Place | None) -> list[str]:
    if place is None or struct.is_variant:
        return [f"#define HAS_{struct.tag}_{member.name} {int(place is not None)}"]
    if member.bits:
        return [f"#define {member.name}_shift {place.offset % 8}"]
    if member.open:
        return []
    return [
        f"_Static_assert(sizeof((({struct.c_name} *)0)->{member.name}) == {place.size}, "
        f'"{struct.c_name}.{member.name} has {place.size} bytes in this kernel");'
    ]
