"""The details of a capture as columns: what was executed with which arguments, and cgroups.

A busy host executes few programs in few cgroups, again and again: each distinct text is kept
once, and a detail has the numbers of its texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import factorize_pairs, frame, int64, objects, put_in_order, text
from analysis.command_lines import Lines
from tracer import abi
from tracer.abi import DetailType

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int32]

DETAIL_COLUMNS = (
    "ts_ns",
    "tgid",
    "start_ns",
    "type",
    "filename",
    "args",
    "args_total",
    "args_cut",
    "cgroup",
    "cgroup_v1",
    "hierarchy",
    "cpu",
    "cpu_lost",
)

_DTYPE = np.dtype(
    abi.numpy_layout((abi.DetailHeader, 0), itemsize=abi.DETAIL_HEADER_SIZE)  # type: ignore[call-overload]
)
# filename_len, args_len, cgroup_len, cgroup_v1_len: in a row, each of two bytes.
_LENGTHS_AT = abi.DetailHeader.filename_len.offset


class _Numbers(dict[bytes, int]):
    """Gives each distinct key a number when it is first asked for."""

    def __missing__(self, key: bytes) -> int:
        number = self[key] = len(self)
        return number


class _Texts(dict[bytes, str]):
    """Decodes each distinct text once."""

    def __missing__(self, key: bytes) -> str:
        found = self[key] = text(key)
        return found


class Details:
    """Details by ts_ns: see `collect`.

    Attributes:
        rows: their headers, a structured array: the fields of ``abi.DetailHeader``.
        is_exec: by row, it belongs to an exec; else the process was moved to a cgroup.
        filename, args: distinct pairs; ``programs`` has by row the number of both.
        cgroup, cgroup_v1: likewise, and ``places``.
    """

    def __init__(
        self, rows: Array, programs: tuple[Codes, Array, Lines], places: tuple[Codes, Array, Array]
    ) -> None:
        self.rows = rows
        self.is_exec: npt.NDArray[np.bool_] = rows["type"] == DetailType.EXEC
        self.programs, self.filename, self.args = programs
        self.places, self.cgroup, self.cgroup_v1 = places

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Array:
        """A field of all headers."""
        return int64(self.rows[name])

    def frame(self) -> pd.DataFrame:
        """Columns DETAIL_COLUMNS; type is "EXEC" or "ATTACH", args a tuple of str."""
        data: dict[str, Any] = {
            "type": objects(["ATTACH", "EXEC"])[self.is_exec.astype(np.int8)],
            "filename": self.filename[self.programs],
            "args": self.args.of(self.programs),
            "args_cut": self.rows["args_total"] > self.rows["args_len"],
            "cgroup": self.cgroup[self.places],
            "cgroup_v1": self.cgroup_v1[self.places],
        }
        return frame({n: data[n] if n in data else self[n] for n in DETAIL_COLUMNS})


def headers_in(content: bytes) -> Array:
    """Headers of the records of a DETL chunk: the fields of ``abi.DetailHeader``."""
    return _headers_at(content, _find_records(content))


class Collector:
    """Takes DETL chunks in any order."""

    def __init__(self) -> None:
        self._headers: list[Array] = []
        self._programs: list[Array] = []
        self._places: list[Array] = []
        # Texts that belong together, back to back as they are in the record.
        self._program_texts = _Numbers()
        self._place_texts = _Numbers()

    def add(self, content: bytes) -> None:
        """Same walk as ``abi.decode_details``, which makes an object of every record."""
        begins = _find_records(content)
        rows = _headers_at(content, begins)
        texts = begins + _DTYPE.itemsize
        middle = texts + rows["filename_len"] + rows["args_len"]
        ends = middle + rows["cgroup_len"] + rows["cgroup_v1_len"]
        if len(ends) and ends[-1] > len(content):
            rows, texts, middle, ends = rows[:-1], texts[:-1], middle[:-1], ends[:-1]
        programs, places = self._program_texts, self._place_texts
        cuts = list(zip(texts.tolist(), middle.tolist(), ends.tolist(), strict=True))
        self._headers.append(rows)
        self._programs.append(np.array([programs[content[b:m]] for b, m, _ in cuts], np.int32))
        self._places.append(np.array([places[content[m:e]] for _, m, e in cuts], np.int32))

    def collect(self) -> Details:
        """All of them by ts_ns, without those of unknown types and of nobody."""
        rows = np.concatenate([np.empty(0, _DTYPE), *self._headers])
        known = np.isin(rows["type"], [int(kind) for kind in DetailType]) & (rows["tgid"] != 0)
        rows = rows[known]
        order = np.flatnonzero(known)[put_in_order(rows, "tgid", "start_ns", "hierarchy")]
        programs, places = (
            np.concatenate([np.empty(0, np.int32), *found])[order]
            for found in (self._programs, self._places)
        )
        return Details(
            rows,
            _programs(programs, rows["filename_len"].astype(np.int64), self._program_texts),
            _places(
                places,
                # Of an ATTACH the path is in another form.
                int64(rows["cgroup_len"]) << 1 | (rows["type"] == DetailType.EXEC),
                self._place_texts,
            ),
        )


def _find_records(content: bytes) -> npt.NDArray[np.int64]:
    """Where records begin whose header is whole; the texts of the last one may not be."""
    view = memoryview(content)[: len(content) // 2 * 2].cast("H")
    size, end = _DTYPE.itemsize, len(content) - _DTYPE.itemsize
    begins: list[int] = []
    offset = 0
    while offset <= end:
        begins.append(offset)
        at = (offset + _LENGTHS_AT) >> 1
        texts = view[at] + view[at + 1] + view[at + 2] + view[at + 3]
        offset = (offset + size + texts + 7) & -8
    return np.array(begins, np.int64)


def _headers_at(content: bytes, begins: npt.NDArray[np.int64]) -> Array:
    words = np.frombuffer(content, np.uint64, len(content) // 8)
    at = begins[:, None] // 8 + np.arange(_DTYPE.itemsize // 8)
    rows: Array = words[at].view(_DTYPE)[:, 0]
    return rows


def _pairs(
    numbers: Codes, splits: npt.NDArray[np.int64], known: _Numbers
) -> tuple[Codes, list[tuple[bytes, int]]]:
    """Number the distinct pairs of texts, and where each is split: the same bytes may be in
    several ways."""
    codes, first = factorize_pairs(numbers, splits)
    keys = list(known)
    which, split = numbers[first].tolist(), splits[first].tolist()
    pairs = [(keys[number], at) for number, at in zip(which, split, strict=True)]
    return codes.astype(np.int32), pairs


def _programs(
    numbers: Codes, splits: npt.NDArray[np.int64], known: _Numbers
) -> tuple[Codes, Array, Lines]:
    codes, pairs = _pairs(numbers, splits, known)
    filenames = _Texts()  # of many command lines few programs are run
    filename = objects([filenames[texts[:split]] for texts, split in pairs])
    return codes, filename, Lines([texts[split:] for texts, split in pairs])


def _places(
    numbers: Codes, splits: npt.NDArray[np.int64], known: _Numbers
) -> tuple[Codes, Array, Array]:
    codes, pairs = _pairs(numbers, splits, known)
    places = [_place(texts, split) for texts, split in pairs]
    return codes, objects([group for group, _ in places]), objects([group for _, group in places])


def _place(texts: bytes, split: int) -> tuple[str, str]:
    found = texts[: split >> 1], texts[split >> 1 :]
    group, group_v1 = (_cgroup_path(names) for names in found) if split & 1 else found
    return text(group), text(group_v1)


def _cgroup_path(names: bytes) -> bytes:
    """Path from names, the innermost first, each ended by a NUL."""
    return b"/" + b"/".join(reversed(names.split(b"\0")[:-1])) if names else b""
