"""The running kernel's types from its BTF: where fields lie, and ids of functions.

Format: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import struct
from array import array

from tracer.kernel_types import KernelTypes, Layout, Place

_HEADER = struct.Struct("<HBBIIIII")  # magic, version, flags, then lengths and offsets
_TYPE = struct.Struct("<III")  # name, info, size or type
_MEMBER = struct.Struct("<III")  # name, type, offset
_MAGIC = 0xEB9F
_POINTER_SIZE = 8

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC, _ENUM64 = 1, 2, 3, 4, 5, 6, 12, 19
_TYPEDEF = 8
_NAMES_ANOTHER = {_TYPEDEF, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag
# Bytes behind a type's own 12, by kind: fixed, and for each of its `vlen` elements.
_FIXED = {_INT: 4, _ARRAY: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, 13: 8, 15: 12, _ENUM64: 12}


class Btf:
    """Types of a kernel.

    Args:
        data: content of /sys/kernel/btf/vmlinux.
        names: of the types to be asked for later.

    Raises:
        ValueError: it is not BTF.
    """

    def __init__(self, data: bytes, names: set[str]) -> None:
        magic, _version, _flags, header, type_at, type_size, string_at, string_size = (
            _HEADER.unpack_from(data)
        )
        if magic != _MAGIC:
            raise ValueError("this is not BTF")
        self._data = data
        self._strings = data[header + string_at : header + string_at + string_size]
        self._wanted = {self._find_string(name): name for name in names}
        self._ids: dict[tuple[int, str], list[int]] = {}
        self._at = array("I", [0])
        self._index(header + type_at, header + type_at + type_size)

    def _find_string(self, name: str) -> int:
        return self._strings.find(b"\0" + name.encode() + b"\0") + 1

    def _string(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _index(self, position: int, end: int) -> None:
        """Notes where each type is, since they differ in length."""
        data, unpack, append = self._data, _TYPE.unpack_from, self._at.append
        wanted, fixed, each = self._wanted, _FIXED.get, _EACH.get
        while position < end:
            name, info, _ = unpack(data, position)
            kind = info >> 24 & 31
            if name in wanted and name:
                self._ids.setdefault((kind, wanted[name]), []).append(len(self._at))
            append(position)
            position += 12 + fixed(kind, 0) + each(kind, 0) * (info & 0xFFFF)

    def function_id(self, name: str) -> int | None:
        """Id of a function's type, to attach to it."""
        found = self._ids.get((_FUNC, name))
        return found[0] if found else None

    def read_layout(self, types: KernelTypes) -> Layout:
        """Where the fields lie that are named in `types`."""
        layout = Layout()
        for declared in types.structs:
            kind = _TYPEDEF if declared.is_typedef else _STRUCT
            for found in self._ids.get((kind, declared.kernel_name), []):
                places: dict[str, Place] = {}
                self._find_members(self._resolve(found), 0, set(declared.fields), places)
                if places:
                    layout.sizes[declared.tag] = self._size(found)
                    for name, place in places.items():
                        if declared.fields[name].bits == 0:
                            place = Place(place.offset // 8, place.size)
                        layout.places[declared.tag, name] = place
                    break
        for tag, names in types.enums.items():
            for found in self._ids.get((_ENUM, tag), []):
                position, count = self._at[found] + 12, self._kind(found)[1]
                for name, value in struct.iter_unpack(
                    "<Ii", self._data[position : position + 8 * count]
                ):
                    if (text := self._string(name)) in names:
                        layout.values[text] = value
        return layout

    def _kind(self, type_id: int) -> tuple[int, int, int, int]:
        """Kind, number of elements, whether its members have bit sizes, size or type."""
        _name, info, value = _TYPE.unpack_from(self._data, self._at[type_id])
        return info >> 24 & 31, info & 0xFFFF, info >> 31, value

    def _resolve(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        while True:
            kind, _count, _flag, value = self._kind(type_id)
            if kind not in _NAMES_ANOTHER:
                return type_id
            type_id = value

    def _size(self, type_id: int) -> int:
        type_id = self._resolve(type_id)
        kind, _count, _flag, value = self._kind(type_id)
        if kind == _PTR:
            return _POINTER_SIZE
        if kind == _ARRAY:
            element, _index, count = struct.unpack_from("<III", self._data, self._at[type_id] + 12)
            return self._size(element) * int(count)
        return value

    def _find_members(
        self, type_id: int, base_bits: int, names: set[str], places: dict[str, Place]
    ) -> None:
        """Adds the places, with offsets in bits, also of members of anonymous members."""
        _kind, count, bit_sizes, _size = self._kind(type_id)
        position = self._at[type_id] + 12
        members = self._data[position : position + _MEMBER.size * count]
        for name, member, offset in _MEMBER.iter_unpack(members):
            bits = base_bits + (offset & 0xFFFFFF if bit_sizes else offset)
            if not name:
                inner = self._resolve(member)
                if self._kind(inner)[0] in (_STRUCT, _UNION):
                    self._find_members(inner, bits, names, places)
            elif (text := self._string(name)) in names:
                places[text] = Place(bits, self._size(member))
