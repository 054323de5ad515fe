"""The page as one HTML file: nothing in it is loaded from elsewhere, and no text of a run becomes markup.

What a run holds is packed as gzip in base64, which has no character that HTML knows; the scripts set it as text. The
page's own policy (CSP) allows the one script that is in it, by its hash, and no request at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"
SCRIPTS = ("dom", "content", "grid", "charts", "overview", "trials", "queries", "parts", "comparison", "main")
"""Modules of the page, each after those that it imports."""
LONGEST_TITLE = 200


def page_html(content: Mapping[str, object], title: str) -> bytes:
    """Return the page that shows ``content``, JSON values that ``static/main.js`` knows."""
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Vega compiles expressions, which needs eval; the expressions are those of stm_agent.inspect.page.charts.
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}' 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": html.escape(policy, quote=True),
        "title": html.escape(title[:LONGEST_TITLE]),
        "style": _file("page.css"),
        "script": script,
        "library": _library(),
        "content": pack(_json(content)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("index.html")).encode()


def _json(content: object) -> str:
    """Return JSON values as text; a number that is not finite, which JSON does not have, is null."""
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return _json(_finite(content))


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def pack(text: str) -> str:
    """Return a text as gzip in base64, the same for the same text."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", errors="replace"), 6, mtime=0)).decode()


def _file(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    """Return all modules as one; in one file they share their names, so that imports and exports fall away."""
    modules = (_file(f"{name}.js") for name in SCRIPTS)
    text = "\n".join(modules)
    return re.sub(r"^import .*;\n|^// @ts-check\n|^export (?=\w)", "", text, flags=re.MULTILINE)


@cache
def _library() -> str:
    return pack(_file("vendor/vega.js"))
