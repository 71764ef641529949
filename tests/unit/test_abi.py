"""tracer/abi.py says the same as bpf/events.h: compared by the host's C compiler.

Nothing is listed by hand but names: every structure, field, enum and constant of the header must
have its counterpart, so that one that is added to the header alone is found too.
"""

from __future__ import annotations

import ctypes
import enum
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tracer import abi

HEADER = Path(__file__).resolve().parents[2] / "bpf" / "events.h"

STRUCTS: dict[str, type[ctypes.Structure]] = {
    "rtrace_fork": abi.Fork,
    "rtrace_exec": abi.Exec,
    "rtrace_exit": abi.Exit,
    "rtrace_reparent": abi.Reparent,
    "rtrace_reaper": abi.Reaper,
    "rtrace_signal": abi.Signal,
    "rtrace_oom": abi.Oom,
    "rtrace_comm": abi.CommChange,
    "rtrace_reap": abi.Reap,
    "rtrace_event": abi.Event,
    "rtrace_detail": abi.DetailHeader,
    "rtrace_task": abi.Task,
    "rtrace_socket": abi.Socket,
    "rtrace_loss": abi.Loss,
    "rtrace_config": abi.Config,
}

ENUMS: dict[str, tuple[type[enum.IntEnum] | type[enum.IntFlag], str]] = {
    "rtrace_type": (abi.Type, "RTRACE_"),
    "rtrace_flag": (abi.Flag, "RTRACE_F_"),
    "rtrace_reason": (abi.Reason, "RTRACE_REASON_"),
    "rtrace_hook": (abi.Hook, "RTRACE_HOOK_"),
    "rtrace_origin": (abi.Origin, "RTRACE_ORIGIN_"),
    "rtrace_context": (abi.Context, "RTRACE_CONTEXT_"),
    "rtrace_detail_type": (abi.DetailType, "RTRACE_DETAIL_"),
    "rtrace_socket_flag": (abi.SocketFlag, "RTRACE_S_"),
    "rtrace_filter": (abi.Filter, "RTRACE_FILTER_"),
    "rtrace_controller": (abi.Controller, "RTRACE_CONTROLLER_"),
}

CONSTANTS = {
    "RTRACE_SCHEMA": abi.SCHEMA,
    "RTRACE_COMM_LEN": abi.COMM_LEN,
    "RTRACE_FILENAME_MAX": abi.FILENAME_MAX,
    "RTRACE_ARGS_MAX": abi.ARGS_MAX,
    "RTRACE_CGROUP_MAX": abi.CGROUP_MAX,
    "RTRACE_SOCKET_NAME_MAX": abi.SOCKET_NAME_MAX,
}


def _code() -> str:
    """The header without comments."""
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)


def _struct_bodies() -> dict[str, str]:
    flat = re.sub(r"union \{.*?\};", "", _code(), flags=re.DOTALL)
    return dict(re.findall(r"^struct (\w+) \{(.*?)^\};", flat, flags=re.DOTALL | re.MULTILINE))


def _fields(body: str) -> list[str]:
    return re.findall(r"(\w+)(?:\[[^\]]*\])?;", body)


def _enum_bodies() -> dict[str, str]:
    return dict(re.findall(r"^enum (\w+) \{(.*?)^\};", _code(), flags=re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def c_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Value of each C expression that the tests ask for, as the host compiler sees it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "no C compiler found (package gcc or clang)"
    expressions = list(CONSTANTS)
    for name, body in _struct_bodies().items():
        expressions.append(f"sizeof(struct {name})")
        for field in _fields(body):
            expressions.append(f"__builtin_offsetof(struct {name}, {field})")
            expressions.append(f"sizeof(((struct {name} *)0)->{field})")
            # -1 in an unsigned field is large; arrays (comm, padding) have no sign here.
            expressions.append(_sign(name, field))
    expressions.append("__builtin_offsetof(struct rtrace_event, fork)")
    for body in _enum_bodies().values():
        expressions += re.findall(r"(\w+) =", body)
    lines = [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    source = tmp_path_factory.mktemp("abi") / "abi.c"
    source.write_text(
        f'#include <stdio.h>\n#include "{HEADER}"\nint main(void) {{\n' + "\n".join(lines) + "\n}\n"
    )
    program = source.with_suffix("")
    subprocess.run([compiler, "-Wall", "-Werror", "-o", program, source], check=True)
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return dict(zip(expressions, map(int, output.split()), strict=True))


def _sign(struct: str, field: str) -> str:
    return (
        f"__builtin_choose_expr(__builtin_classify_type(((struct {struct} *)0)->{field}) == 1,"
        f" (__typeof__(__builtin_choose_expr("
        f"__builtin_classify_type(((struct {struct} *)0)->{field}) == 1,"
        f" ((struct {struct} *)0)->{field}, 0)))-1 < 0, 0)"
    )


def test_every_struct_and_enum_of_the_header_has_a_counterpart() -> None:
    assert set(_struct_bodies()) == set(STRUCTS)
    assert set(_enum_bodies()) == set(ENUMS)
    assert set(re.findall(r"#define (RTRACE_(?!EVENTS_H)\w+)", _code())) == set(CONSTANTS)


@pytest.mark.parametrize("name", STRUCTS)
def test_struct(name: str, c_values: dict[str, int]) -> None:
    struct = STRUCTS[name]
    fields = _fields(_struct_bodies()[name])
    ours = [field[0] for field in struct._fields_ if field[0] != "payload"]
    assert ours == fields
    assert ctypes.sizeof(struct) == c_values[f"sizeof(struct {name})"]
    for field in fields:
        descriptor = getattr(struct, field)
        assert descriptor.offset == c_values[f"__builtin_offsetof(struct {name}, {field})"], field
        assert descriptor.size == c_values[f"sizeof(((struct {name} *)0)->{field})"], field
        ctype = next(f[1] for f in struct._fields_ if f[0] == field)
        is_signed = issubclass(ctype, ctypes._SimpleCData) and ctype(-1).value < 0
        assert is_signed == c_values[_sign(name, field)], field


def test_payload_follows_the_common_fields(c_values: dict[str, int]) -> None:
    assert abi.Event.payload.offset == c_values["__builtin_offsetof(struct rtrace_event, fork)"]
    union = re.search(r"union \{(.*?)\};", _code(), flags=re.DOTALL)
    assert union is not None
    members = dict(re.findall(r"struct (\w+) (\w+);", union[1]))
    assert {f[0]: f[1] for f in abi.Payload._fields_} == {
        member: STRUCTS[struct] for struct, member in members.items()
    }


@pytest.mark.parametrize("name", ENUMS)
def test_enum(name: str, c_values: dict[str, int]) -> None:
    python, prefix = ENUMS[name]
    names = re.findall(r"(\w+) =", _enum_bodies()[name])
    assert {n.removeprefix(prefix): c_values[n] for n in names} == {m.name: m.value for m in python}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constant(name: str, c_values: dict[str, int]) -> None:
    assert CONSTANTS[name] == c_values[name]


def test_every_type_has_a_payload() -> None:
    assert set(abi.PAYLOADS) == set(abi.Type)


def test_numpy_layouts_place_fields_as_ctypes_does() -> None:
    numpy = pytest.importorskip("numpy")
    for event_type, struct in abi.PAYLOADS.items():
        dtype = numpy.dtype(abi.event_layout(event_type))
        assert dtype.itemsize == abi.EVENT_SIZE
        for field in struct._fields_:
            if field[0].startswith("pad"):
                continue
            kind, offset = dtype.fields[field[0]][:2]
            descriptor = getattr(struct, field[0])
            assert offset == abi.Event.payload.offset + descriptor.offset
            assert kind.itemsize == descriptor.size
    assert numpy.dtype(abi.task_layout()).itemsize == abi.TASK_SIZE


def test_layout_in_the_header_survives_json() -> None:
    import json

    layout = abi.layout_description()
    assert json.loads(json.dumps(layout)) == layout
