"""Write the charting library of the report page: ``pip install vl-convert-python==1.9.0.post1``, then run this.

It is kept in the repository, as one file, because vl-convert-python is 33 MB and needed by nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

TARGET = Path(__file__).resolve().parent.parent / "stm_agent" / "inspect" / "page" / "static" / "vendor" / "vega.js"
VEGA_LITE = "6.4"


class _Converter(Protocol):
    def javascript_bundle(self, snippet: str, *, vl_version: str) -> str: ...


def main() -> None:
    """Bundle vega-embed with Vega and Vega-Lite."""
    import importlib

    # A module of its own installation, which the checks of this project do not have.
    converter = cast("_Converter", importlib.import_module("vl_convert"))
    bundle = converter.javascript_bundle("globalThis.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    TARGET.write_text(bundle, encoding="utf-8")
    print(f"wrote {TARGET}, {len(bundle):,} bytes")


if __name__ == "__main__":
    main()
