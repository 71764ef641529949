"""Puts the page together: one file that holds everything and asks nobody for anything.

What comes from a capture gets into it in two ways only: as text by the template, which escapes
everything, and as JSON in an element that no browser executes. A Content-Security-Policy allows
the scripts and the style of the page by their hashes, and nothing else: no other script, no
request to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from tracer.text import printable

Json = dict[str, Any]

_FOLDER = resources.files("analysis") / "html"

# In the order in which they need each other.
SCRIPTS = ("data", "lanes", "look", "shapes", "picture", "panel", "tables", "keys", "talk", "main")


def render_template(name: str, **values: Any) -> str:
    """A template of `page/`, with ``asset`` for what belongs to the page itself.

    Args:
        name: file name.
        values: for the template. Strings of them are escaped.
    """
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = lambda value: printable(str(value))
    environment.globals["asset"] = _asset
    return environment.get_template(name).render(**values)


def policy(scripts: list[Markup], style: Markup) -> str:
    """Content-Security-Policy that allows exactly these, inline."""
    allowed = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def chart_library() -> Markup:
    return _asset("vendor/echarts.min.js")


def report_script() -> Markup:
    """The report's own scripts, one behind the other."""
    return Markup("\n").join(script(name) for name in SCRIPTS)


def script(name: str) -> Markup:
    """A script of the page."""
    return _asset(f"page/{name}.js")


def page_style() -> Markup:
    return _asset("page/page.css")


def embed_json(value: Any) -> Markup:
    """JSON for a script element that is not executed: nothing in it can end that element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _template(name: str) -> str:
    return (_FOLDER / "page" / name).read_text(encoding="utf-8")


@cache
def _asset(path: str) -> Markup:
    """A file of the package. The page may hold it as it is: it comes from nobody's capture."""
    text = (_FOLDER / path).read_text(encoding="utf-8")
    assert "</script" not in text.lower()
    assert "</style" not in text.lower()
    return Markup(text)
