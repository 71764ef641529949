"""Puts functions behind a BPF program that calls them by number, and maps where it names them.

bcc's own loader resolves no calls.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tracer.bpf_code import CALL, INSTRUCTION, LOAD_64, SIZE, decode

_PSEUDO_CALL, _PSEUDO_MAP_FD = 1, 1


@dataclass(frozen=True, slots=True)
class LinkedProgram:
    """A program that the kernel can take.

    Attributes:
        code: all instructions.
        functions: names of the functions behind the program, with the number of the
            instruction that each begins with.
    """

    code: bytes
    functions: dict[str, int]


def link(
    program: bytes, functions: Mapping[int, tuple[str, bytes]], maps: Mapping[int, int]
) -> LinkedProgram:
    """A program with all the functions that it needs.

    Args:
        program: its code, which ends with an exit.
        functions: name and code by number.
        maps: file descriptors by number.
    """
    code = bytearray(program)
    begins: dict[int, int] = {}
    position = 0
    while position < len(code):
        opcode, registers, offset, number = decode(code, position)
        if opcode == CALL and registers >> 4 == 0 and number in functions:
            if number not in begins:
                begins[number] = len(code) // SIZE
                code += functions[number][1]
            distance = begins[number] - position // SIZE - 1
            INSTRUCTION.pack_into(code, position, CALL, _PSEUDO_CALL << 4, 0, distance)
        elif opcode == LOAD_64:
            if registers >> 4 == _PSEUDO_MAP_FD:
                INSTRUCTION.pack_into(code, position, opcode, registers, offset, maps[number])
            position += SIZE  # it takes two
        position += SIZE
    named = {functions[number][0]: begin for number, begin in begins.items()}
    return LinkedProgram(bytes(code), named)


def describe_functions(arguments: Mapping[str, int]) -> tuple[bytes, dict[str, int]]:
    """BTF that makes functions global: then each is verified once, alone.

    Args:
        arguments: number of arguments of each function; all are numbers.

    Returns:
        Content for BPF_BTF_LOAD, and the type id of each function.
    """
    strings, types = bytearray(b"\0"), bytearray()
    ids: dict[str, int] = {}

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    kind_int, kind_func, kind_proto, linkage_global = 1, 12, 13, 1
    types += struct.pack("<IIII", string("u64"), kind_int << 24, 8, 64)
    number, argument = 1, string("argument")
    for name, count in arguments.items():
        types += struct.pack("<III", 0, kind_proto << 24 | count, 1)
        types += struct.pack("<II", argument, 1) * count
        types += struct.pack("<III", string(name), kind_func << 24 | linkage_global, number + 1)
        number += 2
        ids[name] = number
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + bytes(types) + bytes(strings), ids
