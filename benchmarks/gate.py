"""The gate, held to both sides: worthless changes are not confirmed, and real gains are not thrown away.

    python benchmarks/gate.py                # 40 runs a cell, 160 of worthless proposals; 15 minutes on two idle cores
    python benchmarks/gate.py --runs 200     # grows: finished runs are kept in benchmarks/work/gate and not repeated

A run is a walk of 20 proposals on one dev set. Scores are per-query nDCG@10 of real models on six collections
(``gate_scores.npz``, made by ``gate_scores.py``); dev is drawn from a collection's queries by group, with replacement,
so that the collection is the population and the true worth of every model is known. The gain on test is that worth: the
mean over all test sets that could be drawn.

Two worlds. ``replace``: a proposal is another real model (another instruction, training or merge) in the incumbent's
place. ``stack``: the difference between two such models is added to the incumbent, within [0, 1]. In both, randomly
drawn gains or losses of single queries are dropped until the proposal is worth exactly what the scenario says, so that
ties stay ties and no score leaves its range. Four scenarios: every proposal is worth nothing; +0.005; a draw from
N(0, 0.01); and, in ``replace`` alone, whatever it really is.

Rules side by side: keep-if-better (mean on all of dev above 0), the paired bootstrap of earlier versions (lower bound
of the 95 % interval on all of dev above 0, each change by itself), and ``stm_agent.loop.gate``.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _record import claim, machine, save, show

from stm_agent.domain.collection import Split
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.files import content_hash, sha256_text, write_json
from stm_agent.loop import gate as gate_module
from stm_agent.loop import halves as halves_module
from stm_agent.loop import paired_test
from stm_agent.loop.gate import Gate, GateSpec, GateState
from stm_agent.loop.halves import cut_dev

HERE = Path(__file__).parent
SCORES = HERE / "results" / "gate_scores.npz"
COLLECTIONS = ("hpo", "medquad", "scifact", "pubmedqa", "tldr", "xquad-en")
FAMILIES: Mapping[str, tuple[int, ...]] = {
    "instruction": (),
    "training": tuple(range(8)),
    "merge": tuple(range(8, 15)),
    "mix": (),
}
"""Model columns a proposal of each family comes from; an instruction keeps the model, a mix draws one of the three."""
SCENARIOS: Mapping[str, Callable[[np.random.Generator], float]] = {
    "null": lambda _: 0.0,
    "gain": lambda _: 0.005,
    "mixed": lambda random: random.normal(0.0, 0.01),
    "real": lambda _: np.nan,
}
RULES = ("keep-if-better", "bootstrap", "gate")
PROPOSALS, FALSE, KEPT, DRAWS, RESAMPLES, FLIPS = 20, 0.05, 0.8, 80, 1000, 2000
NULL_TIMES = 4
DRAWN = "second"
"""Names the draws. The rule was chosen on other draws, so that what is written down was not seen before."""
State = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """One setting, run ``--runs`` times."""

    collection: str
    family: str
    world: str
    scenario: str
    queries: int


@functools.cache
def population(name: str) -> tuple[Any, list[Any]]:
    """Return ``[queries, models, instructions]`` scores and the rows of each group."""
    with np.load(SCORES) as stored:
        scores, groups = stored[f"{name}.scores"].astype(float), stored[f"{name}.groups"]
    return scores, [np.flatnonzero(groups == group) for group in np.unique(groups)]


class Walk:
    """The models of one run: what is proposed, what it is worth, and what is taken."""

    def __init__(self, cell: Cell, random: np.random.Generator) -> None:
        self.cell, self.random = cell, random
        self.scores = population(cell.collection)[0]
        self.state = self._start()
        self.incumbent = self.scores[:, self.state[0], self.state[1]].copy()

    def _start(self) -> State:
        models = {"instruction": 18, "training": 8, "merge": 15, "mix": 15}[self.cell.family]
        first = 8 if self.cell.family == "merge" else 0
        return int(self.random.integers(first, models)), int(self.random.integers(8))

    def _neighbour(self, state: State) -> State:
        family = self.cell.family
        if family == "mix":
            family = ("instruction", "training", "merge")[self.random.integers(3)]
        if family == "instruction":
            other = int(self.random.integers(7))
            return state[0], other + (other >= state[1])
        return int(self.random.choice([model for model in FAMILIES[family] if model != state[0]])), state[1]

    def _change(self, attempt: int) -> tuple[State, Any]:
        """Return a state and the change of every query's score that it brings."""
        if self.cell.world == "stack":
            before = self._start()
            after = self._neighbour(before)
            change = self.scores[:, after[0], after[1]] - self.scores[:, before[0], before[1]]
            return self.state, np.clip(self.incumbent + change, 0, 1) - self.incumbent
        state = self._neighbour(self.state)
        if attempt >= DRAWS // 2:
            # Near the ceiling of a collection no neighbour has gains enough: any model will do.
            state = int(self.random.integers(18)), int(self.random.integers(8))
        return state, self.scores[:, state[0], state[1]] - self.incumbent

    def propose(self) -> tuple[State, Any, bool]:
        """Return the next challenger: its state, its score on the whole population, whether there was one."""
        worth = SCENARIOS[self.cell.scenario](self.random)
        for attempt in range(DRAWS):
            state, change = self._change(attempt)
            if np.isnan(worth) or self._make_worth(change, worth * len(change)):
                return state, self.incumbent + change, True
        return self.state, self.incumbent, False

    def _make_worth(self, change: Any, total: float) -> bool:
        """Drop random gains (or losses) until ``change`` sums to ``total``; say whether that is possible."""
        surplus = change.sum() - total
        sign = 1 if surplus > 0 else -1
        rows = np.flatnonzero(change * sign > 0)
        self.random.shuffle(rows)
        dropped = np.cumsum(np.abs(change[rows]))
        if not len(rows) or dropped[-1] < abs(surplus):
            return False
        last = int(np.searchsorted(dropped, abs(surplus)))
        change[rows[last]] = sign * (dropped[last] - abs(surplus))
        change[rows[:last]] = 0
        return True


class Dev:
    """One dev set, drawn by group, and what each rule says on it."""

    def __init__(self, cell: Cell, random: np.random.Generator) -> None:
        groups = population(cell.collection)[1]
        rows: list[int] = []
        qrels: dict[str, dict[str, int]] = {}
        draw = 0
        while len(rows) < cell.queries:
            for row in groups[random.integers(len(groups))]:
                qrels[f"q{len(rows):04d}"] = {f"d{draw}": 1}
                rows.append(int(row))
            draw += 1
        self.rows = np.array(rows)
        self.names = list(qrels)
        split = Split("dev", {query: f"text {query}" for query in qrels}, qrels)
        self.gate = Gate(cut_dev(split), GateSpec(samples=FLIPS))

    def of(self, scores: Any) -> dict[str, float]:
        """Return the dev queries' part of the population's scores."""
        return dict(zip(self.names, scores[self.rows].tolist(), strict=True))

    def takes(self, rule: str, challenger: Any, incumbent: Any) -> bool:
        """Say whether a rule takes a challenger."""
        if rule == "keep-if-better":
            return bool((challenger - incumbent)[self.rows].sum() > 1e-9)
        if rule == "bootstrap":
            return paired_bootstrap(self.of(challenger), self.of(incumbent), samples=RESAMPLES).low > 0
        return self.gate.consider(self.of(challenger), self.of(incumbent)).accepted

    def confirms(self, rule: str, final: Any, base: Any, *, taken: int) -> bool:
        """Say whether a rule ends the run with a changed model."""
        if rule == "gate" and taken:
            tried = PROPOSALS
            return self.gate.confirm(self.of(final), self.of(base), GateState(), tried=tried, last=True)[0].confirmed
        return taken > 0


def one_run(cell: Cell, number: int) -> list[list[float]]:
    """Return, for each rule: whether a change was confirmed, its worth, the worth before confirmation, proposals."""
    seed = int(sha256_text(f"{DRAWN} {asdict(cell)} {number}")[:12], 16)
    dev = Dev(cell, np.random.default_rng(seed))
    rows = []
    for rule in RULES:
        walk = Walk(cell, np.random.default_rng(seed + 1))
        base, taken, proposed = walk.incumbent, 0, 0
        for _ in range(PROPOSALS):
            state, challenger, possible = walk.propose()
            proposed += possible
            if possible and dev.takes(rule, challenger, walk.incumbent):
                walk.state, walk.incumbent, taken = state, challenger, taken + 1
        worth = float((walk.incumbent - base).mean())
        confirmed = dev.confirms(rule, walk.incumbent, base, taken=taken)
        rows.append([float(confirmed), worth * confirmed, worth, float(proposed)])
    return rows


def run_cell(cell: Cell, runs: int, work: Path, code: str) -> list[list[list[float]]]:
    """Run what an earlier call of the same code did not; keep all of it. A share of 5 % takes more runs than a mean."""
    runs *= NULL_TIMES if cell.scenario == "null" else 1
    path = work / f"{content_hash({**asdict(cell), 'code': code})}.json"
    finished: list[list[list[float]]] = json.loads(path.read_text()) if path.exists() else []
    if len(finished) < runs:
        finished += [one_run(cell, number) for number in range(len(finished), runs)]
        write_json(path, finished)
    return finished[:runs]


def code_hash() -> str:
    """Return the hash of everything that decides a run."""
    sources = (Walk, Dev, one_run, gate_module, halves_module, paired_test)
    scores = {name: population(name)[0].tobytes().hex() for name in COLLECTIONS}
    return sha256_text("".join(inspect.getsource(source) for source in sources) + content_hash(scores))


def cells(queries: Iterable[int]) -> list[Cell]:
    """Return all settings; real worths are known in one world alone."""
    settings = product(COLLECTIONS, FAMILIES, ("replace", "stack"), SCENARIOS, queries)
    return [Cell(*setting) for setting in settings if not (setting[2] == "stack" and setting[3] == "real")]


def summarise(results: Mapping[Cell, Any], **fixed: object) -> dict[str, Any]:
    """Return figures of each rule over the cells that have these values."""
    chosen = [rows for cell, rows in results.items() if fixed.items() <= asdict(cell).items()]
    table = np.array([row for rows in chosen for row in rows])
    base = max(float(table[:, 0, 1].mean()), 1e-12)
    return {
        "runs": len(table),
        **{
            rule: {
                "confirmed": float(table[:, column, 0].mean()),
                "test_gain": float(table[:, column, 1].mean()),
                "share_of_keep_if_better": float(table[:, column, 1].mean()) / base,
                "before_confirmation": float(table[:, column, 2].mean()),
                "proposals": float(table[:, column, 3].mean()),
            }
            for column, rule in enumerate(RULES)
        },
    }


def figures(results: Mapping[Cell, Any]) -> list[dict[str, Any]]:
    """Return the summaries by world, and by world and family, and by world and collection."""
    rows = []
    for queries, world, scenario in sorted({(cell.queries, cell.world, cell.scenario) for cell in results}):
        fixed = {"queries": queries, "world": world, "scenario": scenario}
        rows.append({**fixed, **summarise(results, **fixed)})
        for key, values in (("family", FAMILIES), ("collection", COLLECTIONS)):
            rows += [{**fixed, key: value, **summarise(results, **fixed, **{key: value})} for value in values]
    return rows


def claims(results: Mapping[Cell, Any], queries: Iterable[int]) -> list[dict[str, Any]]:
    """Hold the gate to both sides, over both worlds; the figure of each world stands beside it."""
    found = []
    for count in queries:
        null, gain = (summarise(results, queries=count, scenario=scenario) for scenario in ("null", "gain"))
        worlds = {
            scenario: {
                world: summarise(results, queries=count, world=world, scenario=scenario)["gate"]
                for world in ("replace", "stack")
            }
            for scenario in ("null", "gain")
        }
        text = f"{count} dev queries, 20 worthless proposals: share of runs that end with a confirmed change"
        confirmed = null["gate"]["confirmed"]
        found.append(claim(text, confirmed, FALSE, "share", lower=True, runs=null["runs"], worlds=worlds["null"]))
        text = f"{count} dev queries, 20 proposals worth +0.005 each: test gain, as a share of keep-if-better's"
        kept = gain["gate"]["share_of_keep_if_better"]
        found.append(claim(text, kept, KEPT, "share", runs=gain["runs"], worlds=worlds["gain"]))
    return found


def main() -> None:
    """Run every cell, write the record and print what holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, help="runs of each cell")
    parser.add_argument("--queries", type=int, nargs="+", default=[100, 225, 450])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "gate", help="finished runs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    before, todo = machine(), cells(options.queries)
    call = functools.partial(run_cell, runs=options.runs, work=options.work, code=code_hash())
    with ProcessPoolExecutor(options.workers) as pool:
        results = dict(zip(todo, pool.map(call, todo), strict=True))
    rows, found = figures(results), claims(results, options.queries)
    save(
        {
            "name": "gate",
            "command": f"python benchmarks/gate.py --runs {options.runs}",
            "machine": before,
            "versions": {name: version(name) for name in ("numpy",)},
            "seeds": "sha256 of the cell and the number of the run",
            "results": rows,
            "claims": found,
        }
    )
    for row in rows:
        if not {"family", "collection"} & row.keys():
            parts = [f"{rule} {row[rule]['confirmed']:.3f} {row[rule]['test_gain']:+.4f}" for rule in RULES]
            sys.stdout.write(f"{row['queries']} {row['world']} {row['scenario']}: {', '.join(parts)}\n")
    show(found)


if __name__ == "__main__":
    main()
