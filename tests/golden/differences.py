"""Where two reports differ, in short."""

from __future__ import annotations

import json
from typing import Any

MOST = 20
_WIDTH = 160


def differences(before: Any, after: Any) -> list[str]:
    """Paths of what differs, with both values; MOST at most."""
    found = _differences("", before, after)
    return found[:MOST] + [f"and {len(found) - MOST} more"] * (len(found) > MOST)


def _differences(path: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        pairs = [(f"{path}.{key}", before.get(key), after.get(key)) for key in keys]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(f"{path}[{i}]", *both) for i, both in enumerate(zip(before, after, strict=True))]
    else:
        return [] if before == after else [f"{path or '.'}: {_short(before)} -> {_short(after)}"]
    return [line for pair in pairs for line in _differences(*pair)]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
