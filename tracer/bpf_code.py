"""BPF instructions, as far as rtrace reads them: what small compiled functions say.

The compiler answers questions (where does a field lie, how large is a map's value) by the code of
functions that return the answer. Instructions have 8 bytes, see
Documentation/bpf/standardization/instruction-set.rst of the kernel.
"""

from __future__ import annotations

import struct

INSTRUCTION = struct.Struct("<BBhi")  # opcode, registers (source in the high half), offset, number
SIZE = INSTRUCTION.size
CALL, LOAD_64 = 0x85, 0x18  # the latter takes two instructions
_EXIT, _MOVE_NUMBER, _MOVE = 0x95, 0xB7, 0xBF
_AND, _SHIFT_LEFT, _SHIFT_RIGHT = 0x57, 0x67, 0x77
_LOADS = {0x71: 8, 0x69: 16, 0x61: 32, 0x79: 64}  # how many bits
_WORD = 0xFFFFFFFFFFFFFFFF


def decode(code: bytes | bytearray, position: int) -> tuple[int, int, int, int]:
    """Opcode, registers, offset and number of the instruction at a byte."""
    opcode, registers, offset, number = INSTRUCTION.unpack_from(code, position)
    return opcode, registers, offset, number


def returned_constant(code: bytes) -> int:
    """What a function returns that does nothing else.

    Raises:
        ValueError: it does more.
    """
    opcode, registers, _offset, number = decode(code, 0)
    size = 2 * SIZE if opcode == LOAD_64 else SIZE
    if opcode not in (LOAD_64, _MOVE_NUMBER) or registers or code[size] != _EXIT:
        raise ValueError("this function returns no constant")
    if opcode == LOAD_64:
        high = decode(code, SIZE)[3]
        return (high & 0xFFFFFFFF) << 32 | number & 0xFFFFFFFF
    return number & _WORD


def find_loaded_bit(code: bytes) -> int:
    """Which bit a function returns of the memory that its argument points to.

    Args:
        code: of `return at->bit_field;`: one load, then shifts and masks.

    Returns:
        Offset of the bit in bits.

    Raises:
        ValueError: it does something else.
    """
    instructions = [decode(code, at) for at in range(0, len(code), SIZE)]
    loads = [(opcode, offset) for opcode, _r, offset, _n in instructions if opcode in _LOADS]
    if len(loads) != 1:
        raise ValueError("this function does not load once")
    opcode, offset = loads[0]
    for bit in range(_LOADS[opcode]):
        if _run(instructions, 1 << bit) & 1:
            return offset * 8 + bit
    raise ValueError("this function returns no bit")


def _run(instructions: list[tuple[int, int, int, int]], loaded: int) -> int:
    """What comes out when this was loaded."""
    registers = [0] * 11
    for opcode, both, _offset, number in instructions:
        to, source = both & 15, both >> 4
        if opcode == _EXIT:
            break
        if opcode in _LOADS:
            registers[to] = loaded
        elif opcode == _MOVE:
            registers[to] = registers[source]
        elif opcode == _AND:
            registers[to] &= number
        elif opcode == _SHIFT_LEFT:
            registers[to] = registers[to] << number & _WORD
        elif opcode == _SHIFT_RIGHT:
            registers[to] >>= number
        else:
            raise ValueError(f"this function has an instruction {opcode:#x}")
    return registers[0]
