"""Write the result tables of README.md from benchmarks/results: ``python scripts/write_tables.py [--check]``."""

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


def main() -> int:
    """Fill the table between its markers, or tell that it is stale."""
    readme = ROOT / "README.md"
    old = readme.read_text()
    new = re.sub(r"(<!-- table: embedded -->\n).*?(<!-- end -->)", lambda m: m[1] + embedded() + m[2], old, flags=re.S)
    if "--check" in sys.argv:
        if new != old:
            sys.stderr.write("README.md is stale; run python scripts/write_tables.py\n")
        return int(new != old)
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
