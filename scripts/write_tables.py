"""Write the tables of README.md and docs from benchmarks/results; with ``--check`` only name the stale pages."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NO_RESULT = "No result yet: `python benchmarks/embedded.py` makes it.\n"


SHOWN = {
    "BM25": "BM25",
    "all-MiniLM-L6-v2": "all-MiniLM-L6-v2",
    "base": "the backbone before the run",
    "merged": "**the model of the run**",
}
"""Row of a report -> its name in the README."""


def embedded_record(name: str = "embedded") -> dict[str, Any] | None:
    """Return the record of the main job; None if it was never run."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


OWN_DATA = ("BM25", "untouched start", "plain fine-tuning", "merged", "merged + BM25")
"""Rows of a run on a folder that the table shows."""


def own_data() -> str:
    """Return the table of the runs on folders: a row for each collection and seed."""
    path = ROOT / "benchmarks" / "results" / "own_data.json"
    if not path.exists():
        return "No result yet: `python benchmarks/own_data.py` makes it.\n"
    record = json.loads(path.read_text())
    lines = [f"| collection, seed | {' | '.join(OWN_DATA)} | minutes |", f"|---|{'---|' * len(OWN_DATA)}---|"]
    for name, run in record["runs"].items():
        folder, seed = name.split("/")
        scores = " | ".join(f"{run['scores'][row]:.3f}" if row in run["scores"] else "not run" for row in OWN_DATA)
        lines.append(f"| {folder}, {seed} | {scores} | {run['wall_minutes']:.0f} |")
    lines += [
        "",
        "Test nDCG@10; the start is all-MiniLM-L6-v2. Plain fine-tuning is that of all its weights by the documented "
        "defaults of sentence-transformers, for the same minutes. "
        f"[All claims](docs/benchmarks.md#own_data); {kept(record['claims'])}.",
    ]
    return "\n".join(lines) + "\n"


def kept(claims: list[dict[str, Any]]) -> str:
    """Return how many claims hold."""
    failing = sum(not entry["holds"] for entry in claims)
    return (
        f"{failing} of {len(claims)} claims fail and are listed there" if failing else f"all {len(claims)} claims hold"
    )


def rows_of(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return one row of every seed's report that has it."""
    reports = [result["report"] for result in record["results"]]
    return [report["rows"][name] for report in reports if name in report["rows"]]


def mean_ndcg(rows: list[dict[str, Any]]) -> float:
    """Return the mean test nDCG@10 of a row over the seeds."""
    return float(sum(row["ndcg_at_10"] for row in rows) / len(rows))


def embedded_short() -> str:
    """Return the README's table: four rows of the main job, with the range of the differences over the seeds."""
    record = embedded_record()
    if record is None:
        return NO_RESULT
    several = len(record["seeds"]) > 1
    lines = [
        f"| | test nDCG@10{', mean of seeds' if several else ''} | the model minus this"
        f"{', range over seeds [lowest and highest 95 % bound]' if several else ' [95 % interval]'} |",
        "|---|---|---|",
    ]
    for name, shown in SHOWN.items():
        rows = rows_of(record, name)
        deltas = [row["merged_minus_this"] for row in rows]
        low, high = (choose(delta["delta"] for delta in deltas) for choose in (min, max))
        bounds = min(delta["low"] for delta in deltas), max(delta["high"] for delta in deltas)
        deltas_shown = f"{low:+.3f} to {high:+.3f}" if several else f"{low:+.3f}"
        text = f"{deltas_shown} [{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
        bold = "**" if name == "merged" else ""
        lines.append(f"| {shown} | {bold}{mean_ndcg(rows):.3f}{bold} | {'' if name == 'merged' else text} |")
    cold = record["cold"]
    collection = record["results"][0]["report"]["collection"]
    lines += [
        "",
        f"{collection['test_queries']:,} test queries, {collection['documents']:,} definitions of the Human Phenotype "
        f"Ontology, {len(record['seeds'])} seed{'s' if several else ''}; {cold['wall_seconds'] / 60:.1f} minutes and "
        f"{cold['peak_gib']:.1f} GiB on {record['machine']['cores']} CPU cores.",
        f"[All rows, intervals and claims](docs/benchmarks.md#embedded); {kept(record['claims'])}.",
        *raced(),
    ]
    return "\n".join(lines) + "\n"


def raced() -> list[str]:
    """Return the line on the main job whose starts race; none if it was never run."""
    record = embedded_record("embedded_auto")
    if record is None:
        return []
    return [
        f"With `--start auto` a small encoder wins the race of starts, and the model has "
        f"**{mean_ndcg(rows_of(record, 'merged')):.3f}** after {record['cold']['wall_seconds'] / 60:.1f} minutes "
        f"([claims](docs/benchmarks.md#embedded_auto); {kept(record['claims'])})."
    ]


def embedded_full(record: dict[str, Any]) -> list[str]:
    """Return the lines of the whole table: every row of the main job, seed by seed."""
    lines = [
        "| model | test nDCG@10, mean of seeds | merged minus this, seed by seed [95 % interval] |",
        "|---|---|---|",
    ]
    for name in record["results"][0]["report"]["rows"]:
        rows = rows_of(record, name)
        deltas = (row["merged_minus_this"] for row in rows)
        text = "; ".join(f"{d['delta']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]" for d in deltas)
        bold = "**" if name == "merged" else ""
        lines.append(f"| {bold}{name}{bold} | {bold}{mean_ndcg(rows):.3f}{bold} | {'' if name == 'merged' else text} |")
    seeds = ", ".join(map(str, record["seeds"]))
    return [*lines, "", f"Seeds {seeds}. `base` is the backbone before the run, `merged` the model of the run.", ""]


def probes_full(record: dict[str, Any]) -> list[str]:
    """Return the lines of the table of data variants: what each probe and the LoRA run came to."""
    names = ("query-map", "query-side", "short lora", "lora")
    lines = [
        f"| training data | {' | '.join(names)} | LoRA run, test |",
        f"|---|{'---|' * len(names)}---|",
    ]
    for variant, row in record["variants"].items():
        cells = (f"{row[name]['search']:.4f} ({row[name]['seconds']:.0f} s)" for name in names)
        lines.append(f"| {variant} | {' | '.join(cells)} | {row['lora']['test']:.4f} |")
    text = f"nDCG@10 on the search half of dev (seconds); untrained {record['untrained']['search']:.4f}."
    return [*lines, "", text, ""]


def merges() -> str:
    """Return the table of merging: every row of both collections, mean over seeds, and the claims."""
    path = ROOT / "benchmarks" / "results" / "merge_quality.json"
    if not path.exists():
        return "No result yet: `python benchmarks/merge_quality.py` makes it.\n"
    record = json.loads(path.read_text())
    lines = [
        "| collection | model | test nDCG@10 | general, test | minus dev's best expert, seed by seed [95 % interval] |",
        "|---|---|---|---|---|",
    ]
    for collection, results in record["results"].items():
        for name in (key for key, row in results[0]["rows"].items() if isinstance(row, dict)):
            rows = [result["rows"][name] for result in results]
            means = [
                f"{sum(row[part] for row in rows) / len(rows):.3f}" if part in rows[0] else ""
                for part in ("test", "general")
            ]
            deltas = (row["minus_best_expert"] for row in rows)
            text = "; ".join(f"{d['delta']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]" for d in deltas)
            lines.append(f"| {collection} | {name} | {' | '.join(means)} | {text} |")
    lines += ["", f"Means of seeds {', '.join(map(str, record['seeds']))}. Made by `{record['command']}`."]
    for entry in record["claims"]:
        mark = "holds" if entry["holds"] else "fails"
        lines.append(f"Claim that {mark}: {entry['claim']}: {entry['measured']:.4f}, target above {entry['target']:g}.")
    return "\n".join(lines) + "\n"


def scale() -> str:
    """Return the tables of large corpora: searches by number format, and cost of the stages by passages."""
    path = ROOT / "benchmarks" / "results" / "scale.json"
    if not path.exists():
        return "No result yet: `python benchmarks/scale.py` makes it.\n"
    record = json.loads(path.read_text())
    scores = record["scifact"]["ndcg_at_10"]
    lines = [
        f"Search of {record['vectors']:,} vectors of 384 numbers for the first 100 of 300 queries. "
        "The last column is nDCG@10 of all-MiniLM-L6-v2 on scifact.",
        "",
        "| format | verify, s | search, s | peak, GiB | of the exact first 100 | a cosine is off by | scifact |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['verify_seconds']:.1f} | {row['search_seconds']:.1f} | {row['peak_gib']:.2f} | "
        f"{row['overlap']:.4f} | {row['cosine_off_by_at_most']:.2g} | {scores[name]:.4f} |"
        for name, row in record["search"].items()
    ]
    rate = record["stages"]["encoding"]["rate_texts_per_second"]
    lines += [
        "",
        f"Seconds of a stage, with stored vectors. Encoding is a measured rate ({rate:.0f} passages a second) "
        "times the passages. A million in italics is extrapolated from the largest size by the exponent.",
        "",
        "| stage | 1,000 | 10,000 | 100,000 | 1,000,000 | growth exponent |",
        "|---|---|---|---|---|---|",
    ]
    for stage, row in record["stages"].items():
        seconds = row.get("seconds") or row["seconds_by_the_rate"]
        cells = [f"{seconds[size]:.2f}" for size in ("1000", "10000", "100000")]
        last = (
            f"{seconds['1000000']:.1f}" if "1000000" in seconds else f"*{row['extrapolated_seconds']['1000000']:.0f}*"
        )
        lines.append(f"| {stage} | {' | '.join(cells)} | {last} | {row['growth_exponent']:.2f} |")
    lines += ["", f"Made by `{record['command']}` with {record['machine']['threads']} threads."]
    return "\n".join(lines) + "\n"


def gate() -> str:
    """Return the table of the gate: the three rules by dev size, world and scenario, and the claims."""
    path = ROOT / "benchmarks" / "results" / "gate.json"
    if not path.exists():
        return "No result yet: `python benchmarks/gate.py` makes it.\n"
    record = json.loads(path.read_text())
    rules = ("keep-if-better", "bootstrap", "gate")
    lines = [
        f"| dev queries | world | proposals | {' | '.join(rules)} |",
        f"|---|---|---|{'---|' * len(rules)}",
    ]
    scenarios = {
        "null": "worth nothing",
        "gain": "worth +0.005 each",
        "mixed": "worth N(0, 0.01)",
        "real": "as they really are",
    }
    for row in record["results"]:
        if {"family", "collection"} & row.keys():
            continue
        key = "confirmed" if row["scenario"] == "null" else "test_gain"
        cells = [f"{row[rule][key]:.1%}" if key == "confirmed" else f"{row[rule][key]:+.4f}" for rule in rules]
        lines.append(f"| {row['queries']} | {row['world']} | {scenarios[row['scenario']]} | {' | '.join(cells)} |")
    lines += [
        "",
        "Proposals worth nothing: share of runs that end with a confirmed change. Otherwise: gain in nDCG@10 on test. "
        f"Made by `{record['command']}`.",
        "",
    ]
    for entry in record["claims"]:
        mark, side = (
            ("holds" if entry["holds"] else "**fails**"),
            ("most" if "worthless" in entry["claim"] else "least"),
        )
        lines.append(f"- {mark}: {entry['claim']}: {entry['measured']:.3f}, at {side} {entry['target']:g}")
    return "\n".join(lines) + "\n"


def audit() -> str:
    """Return what the audit finds of planted positives, by collection and retrievers."""
    path = ROOT / "benchmarks" / "results" / "audit.json"
    if not path.exists():
        return "No result yet: `python benchmarks/audit.py` makes it.\n"
    record = json.loads(path.read_text())
    lines = [
        "| collection | mined and scored by | found | found by mining's margin | draws whose interval covers the rate "
        "before, after | relabelled | of these planted |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, collection in record["collections"].items():
        for way, row in collection["ways"].items():
            covered = f"{row['covered']['before']}, {row['covered']['after']} of {len(collection['draws'])}"
            right = "" if row["relabelled_precision"] is None else f"{row['relabelled_precision']:.1%}"
            cells = [f"{row['found']:.1%}", f"{row['margin_found']:.1%}", covered, f"{row['relabelled']:,}", right]
            lines.append(f"| {name} | {way} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Made by `{record['command']}`."]) + "\n"


HEADER = """# Benchmarks

Made from `benchmarks/results` by `python scripts/write_tables.py`; do not edit. Every claim a benchmark measures is
here, the failing ones too; raw figures, machine, versions and seeds are in the JSON files.
"""


def benchmarks() -> str:
    """Return docs/benchmarks.md: a table of claims for each result file, and all rows of the main job."""
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
        if record["name"] == "embedded":
            parts += embedded_full(record)
        if record["name"] == "probe":
            parts += probes_full(record)
    return "\n".join(parts)


def filled(page: str, name: str, table: str) -> str:
    """Return the text of a page with its table filled.

    Raises:
        ValueError: The page has no markers of that table.
    """
    between = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
    text, count = re.subn(between, lambda match: match[1] + table + match[2], page, flags=re.S)
    if count != 1:
        raise ValueError(f"a page has the table '{name}' {count} times; it needs one pair of markers")
    return text


def synthesis() -> str:
    """Return what an expert of each kind of data reached, beside the untouched start and the train pairs alone."""
    path = ROOT / "benchmarks" / "results" / "synthesis.json"
    if not path.exists():
        return "No result yet: `python benchmarks/synthesis.py` makes it.\n"
    record = json.loads(path.read_text())
    lines = []
    for name, run in record["runs"].items():
        folder, seed = name.split("/")
        lines += [
            f"{folder}, seed {seed}; test nDCG@10, differences with 95 % intervals:",
            "",
            "| learnt from | pairs | nDCG@10 | minus the untouched start | minus train pairs alone |",
            "|---|---|---|---|---|",
        ]
        for arm, row in run["rows"].items():
            test = row["test"]
            found = [test.get(f"minus {other}") for other in ("untouched start", "train pairs")]
            cells = [f"{one['delta']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" if one else "" for one in found]
            lines.append(f"| {arm} | {row.get('pairs', 0):,} | {test['ndcg_at_10']:.3f} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, f"Made by `{record['command']}`."]) + "\n"


def main() -> int:
    """Write the pages, or name those that are stale."""
    docs, read = ROOT / "docs", (ROOT / "README.md").read_text()
    pages = {
        ROOT / "README.md": filled(filled(read, "embedded", embedded_short()), "own_data", own_data()),
        docs / "merging.md": filled((docs / "merging.md").read_text(), "merge_quality", merges()),
        docs / "gate.md": filled((docs / "gate.md").read_text(), "gate", gate()),
        docs / "audit.md": filled((docs / "audit.md").read_text(), "audit", audit()),
        docs / "scale.md": filled((docs / "scale.md").read_text(), "scale", scale()),
        docs / "synthesis.md": filled((docs / "synthesis.md").read_text(), "synthesis", synthesis()),
        docs / "benchmarks.md": benchmarks(),
    }
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
