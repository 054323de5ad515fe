"""The same loop on other people's collections, with small budgets.

    python benchmarks/beir.py path/to/scifact path/to/medquad    # about 5 minutes each on two cores
    python benchmarks/beir.py path/to/scifact --layers 6 --tokens 128 --steps 200 --work work/whole

Makes a domain of every BEIR folder by ``stm-agent domains new``, takes it down to the given size, runs
``stm-agent optimize`` on it and writes ``benchmarks/results/beir.json``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from _record import claim, machine, optimize, save, show, versions

HERE = Path(__file__).parent
AGENT = [sys.executable, "-m", "stm_agent"]


def small_domain(collection: Path, options: argparse.Namespace) -> Path:
    """Write the domain of a collection at the asked size."""
    path: Path = options.work / f"{collection.name}.yaml"
    command = [*AGENT, "domains", "new", str(path), "--collection", str(collection.resolve())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    domain = yaml.safe_load(path.read_text())
    domain["backbone"] |= {"layers": options.layers, "max_length": options.tokens}
    domain["train"]["learning_rate"] = options.rate
    domain["merge"]["verify"] = domain["instruct"]["reflections"] = 1
    for expert in domain["experts"]:
        expert["steps"] = options.steps
    for guard in domain["general"]:
        guard["documents"] = 100
    if not options.baseline:
        domain["baseline"] = None
    path.write_text(yaml.safe_dump(domain, sort_keys=False))
    return path


def main() -> None:
    """Run all collections and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path, nargs="+", help="folders in BEIR layout")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument(
        "--baseline", action="store_true", help="also encode with all-MiniLM-L6-v2, minutes for long texts"
    )
    parser.add_argument("--work", type=Path, default=HERE / "work" / "beir", help="emptied first")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    subprocess.run([*AGENT, "init", str(options.work)], check=True)
    results = {
        folder.name: optimize(options.work, "--domain", str(small_domain(folder, options)))
        for folder in options.collections
    }
    rows = {name: result["report"]["rows"] for name, result in results.items()}
    record = {
        "name": "beir",
        "command": f"python benchmarks/beir.py {' '.join(results)} --layers {options.layers} "
        f"--tokens {options.tokens} --steps {options.steps} --rate {options.rate}",
        "machine": machine(),
        "versions": versions(),
        "seeds": [0],
        "results": results,
        "claims": [
            claim(
                f"{name}: merged minus {other}, lower bound of the paired interval",
                rows[name][other]["merged_minus_this"]["low"],
                0.0,
                "nDCG@10",
                merged=rows[name]["merged"]["ndcg_at_10"],
                other=rows[name][other]["ndcg_at_10"],
            )
            for name in rows
            for other in ("base", "BM25")
        ],
    }
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
