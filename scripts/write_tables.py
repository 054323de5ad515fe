"""Write README.md's table and docs/benchmarks.md from benchmarks/results; with ``--check`` only tell what is stale."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def embedded() -> str:
    """Return the README's table: every row of the main job, mean over seeds, and the claims that fail."""
    path = ROOT / "benchmarks" / "results" / "embedded.json"
    if not path.exists():
        return "No result yet: `python benchmarks/embedded.py` makes it.\n"
    record = json.loads(path.read_text())
    reports = [result["report"] for result in record["results"]]
    lines = [
        "| model | test nDCG@10, mean of seeds | merged minus this, seed by seed [95 % interval] |",
        "|---|---|---|",
    ]
    for name in reports[0]["rows"]:
        rows = [report["rows"][name] for report in reports if name in report["rows"]]
        mean = sum(row["ndcg_at_10"] for row in rows) / len(rows)
        deltas = (row["merged_minus_this"] for row in rows)
        text = "; ".join(f"{d['delta']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]" for d in deltas)
        bold = "**" if name == "merged" else ""
        lines.append(f"| {bold}{name}{bold} | {bold}{mean:.3f}{bold} | {'' if name == 'merged' else text} |")
    collection, cold = reports[0]["collection"], record["cold"]
    fails = [entry for entry in record["claims"] if not entry["holds"]]
    lines += [
        "",
        f"HPO: {collection['test_queries']:,} test queries, {collection['documents']:,} definitions; seeds "
        f"{', '.join(map(str, record['seeds']))}; {cold['wall_seconds'] / 60:.1f} minutes and "
        f"{cold['peak_gib']:.1f} GiB on {record['machine']['cores']} cores. Made by `{record['command']}`.",
    ]
    lines += [f"Claim that fails: {e['claim']}: {e['measured']:.4f}, target {e['target']} {e['unit']}." for e in fails]
    return "\n".join(lines) + "\n"


HEADER = """# Benchmarks

Made from `benchmarks/results` by `python scripts/write_tables.py`; do not edit. Every claim a benchmark measures is
here, the failing ones too; raw figures, machine, versions and seeds are in the JSON files.
"""


def benchmarks() -> str:
    """Return docs/benchmarks.md: a table of claims for each result file."""
    parts = [HEADER]
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        record = json.loads(path.read_text())
        parts += [
            f"## {record['name']}",
            "",
            f"`{record['command']}`",
            "",
            "| claim | measured | target | |",
            "|---|---|---|---|",
        ]
        for entry in record["claims"]:
            mark = "holds" if entry["holds"] else "**fails**"
            parts.append(
                f"| {entry['claim']} | {entry['measured']:.4g} | {entry['target']:g} {entry['unit']} | {mark} |"
            )
        parts.append("")
    return "\n".join(parts)


def readme() -> str:
    """Return README.md with its table filled."""
    old = (ROOT / "README.md").read_text()
    return re.sub(r"(<!-- table: embedded -->\n).*?(<!-- end -->)", lambda m: m[1] + embedded() + m[2], old, flags=re.S)


def main() -> int:
    """Write both pages, or tell which is stale."""
    pages = {ROOT / "README.md": readme(), ROOT / "docs" / "benchmarks.md": benchmarks()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path.name} is stale; run python scripts/write_tables.py\n")
        return int(bool(stale))
    for path in stale:
        path.write_text(pages[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
