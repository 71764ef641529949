"""Functions behind a program, and what small functions say: on hand-made instructions."""

from __future__ import annotations

import struct

import pytest

from tracer.bpf_code import find_loaded_bit, returned_constant
from tracer.bpf_linker import describe_functions, link

EXIT = (0x95, 0, 0, 0)


def code(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<BBhi", *instruction) for instruction in instructions)


def decoded(instructions: bytes) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("<BBhi", instructions))


def call(number: int) -> tuple[int, int, int, int]:
    return (0x85, 0, 0, number)


def test_functions_are_put_behind_once_and_calls_lead_there() -> None:
    # GIVEN a program that calls two functions, one of which calls the other
    program = code(call(100), call(101), call(100), EXIT)
    inner, outer = code((0xB7, 0, 0, 7), EXIT), code(call(100), EXIT)
    unused = code(EXIT)

    linked = link(program, {100: ("inner", inner), 101: ("outer", outer), 102: ("no", unused)}, {})

    # THEN each call has the distance to its function, as BPF_PSEUDO_CALL
    assert linked.functions == {"inner": 4, "outer": 6}
    assert decoded(linked.code) == [
        (0x85, 0x10, 0, 3),
        (0x85, 0x10, 0, 4),
        (0x85, 0x10, 0, 1),
        EXIT,
        (0xB7, 0, 0, 7),
        EXIT,
        (0x85, 0x10, 0, -3),
        EXIT,
    ]


def test_helpers_and_constants_are_left_alone() -> None:
    # A 64-bit constant takes two instructions; its second half may look like anything.
    program = code((0x18, 0x02, 0, 5), (0x85, 0, 0, 100), call(14), EXIT)

    linked = link(program, {100: ("f", code(EXIT))}, {5: 9})

    assert linked.code == program
    assert linked.functions == {}


def test_maps_get_their_descriptors() -> None:
    program = code((0x18, 0x11, 0, 200), (0, 0, 0, 0), EXIT)

    assert decoded(link(program, {}, {200: 33}).code)[0] == (0x18, 0x11, 0, 33)


@pytest.mark.parametrize(
    ("instructions", "value"),
    [
        ([(0xB7, 0, 0, 5), EXIT], 5),
        ([(0xB7, 0, 0, -1), EXIT], 0xFFFFFFFFFFFFFFFF),
        ([(0x18, 0, 0, -1), (0, 0, 0, 1), EXIT], 0x1FFFFFFFF),
    ],
)
def test_returned_constants(instructions: list[tuple[int, int, int, int]], value: int) -> None:
    assert returned_constant(code(*instructions)) == value


@pytest.mark.parametrize(
    "instructions",
    [
        [(0xB7, 1, 0, 5), EXIT],  # another register
        [(0xB7, 0, 0, 5), (0x07, 0, 0, 1), EXIT],
        [(0x79, 0x10, 0, 0), EXIT],
    ],
)
def test_functions_that_return_no_constant(instructions: list[tuple[int, int, int, int]]) -> None:
    with pytest.raises(ValueError, match="no constant"):
        returned_constant(code(*instructions))


@pytest.mark.parametrize(
    ("instructions", "bit"),
    [
        ([(0x71, 0x10, 128, 0), (0x57, 0, 0, 1), EXIT], 1024),
        ([(0x71, 0x10, 128, 0), (0x77, 0, 0, 1), (0x57, 0, 0, 1), EXIT], 1025),
        ([(0x61, 0x10, 4, 0), (0x67, 0, 0, 40), (0x77, 0, 0, 63), EXIT], 55),
        ([(0x61, 0x11, 4, 0), (0xBF, 0x10, 0, 0), (0x57, 0, 0, 1), EXIT], 32),
    ],
)
def test_loaded_bits(instructions: list[tuple[int, int, int, int]], bit: int) -> None:
    assert find_loaded_bit(code(*instructions)) == bit


@pytest.mark.parametrize(
    ("instructions", "why"),
    [
        ([(0xB7, 0, 0, 1), EXIT], "does not load once"),
        ([(0x71, 0x10, 0, 0), (0x57, 0, 0, 0), EXIT], "returns no bit"),
        ([(0x71, 0x10, 0, 0), (0x87, 0, 0, 0), EXIT], "instruction 0x87"),
    ],
)
def test_functions_that_load_no_bit(
    instructions: list[tuple[int, int, int, int]], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        find_loaded_bit(code(*instructions))


def test_types_of_functions() -> None:
    data, ids = describe_functions({"main": 0, "add": 2})

    magic, version, _flags, header, type_at, type_size, string_at, string_size = struct.unpack_from(
        "<HBBIIIII", data
    )
    assert (magic, version, header, type_at) == (0xEB9F, 1, 24, 0)
    assert string_at == type_size
    assert len(data) == header + type_size + string_size
    # 1 is u64, then a prototype and a function each
    assert ids == {"main": 3, "add": 5}
    types, strings = data[header : header + type_size], data[header + string_at :]
    main = struct.unpack_from("<III", types, 16 + 12)
    assert strings[main[0] :].startswith(b"main\0")
    assert main[1:] == (12 << 24 | 1, 2)  # global, of the prototype before it
    prototype = struct.unpack_from("<IIIIIII", types, 16 + 24)
    assert prototype[:3] == (0, 13 << 24 | 2, 1)
    assert prototype[4] == prototype[6] == 1
