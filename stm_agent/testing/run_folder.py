"""A run's folder with everything that a page shows, of any size, without a run: for tests and benchmarks."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.files import write_atomic, write_json

ROWS = ("BM25", "base", "expert plain", "expert hard", "merged", "merged + BM25")
MARKUP = "</script><img src=x onerror=\"document.title='broken'\"><b>bold</b> & \u202eright to left\u202c {{content}}"
"""A text that breaks a page which takes it for markup, or for a part of its own template."""
PASSAGES = {2: "a passage", 3: "a passage of a textbook"}
"""Number of a trial -> its passage instruction; the others have none."""
ARABIC = "\u0645\u0627 \u0647\u0648 \u0623\u0644\u0645 \u0627\u0644\u0631\u0643\u0628\u0629\u061f"
AUDIT = "audit-fake"
"""Stage in which negatives were audited."""
RATE = {"share": 0.25, "low": 0.2, "high": 0.31, "count": 1200}
"""A false-negative rate, as the audit writes it."""
WORDS = ("knee", "pain", "list", "files", "network", "port", "swelling", "copy", "branch", "remote", "chronic", "acute")


@dataclass(frozen=True, kw_only=True)
class FakeRun:
    """What the folder holds.

    Attributes:
        queries: Test queries.
        trials: Tried instructions.
        documents: Passages of the corpus.
        words: Words of a passage.
        state: ``finished``, ``stopped`` or ``interrupted``.
        titled: Whether documents have a title of one word.
        audited: Whether there is a stage that audited negatives.
        texts: Texts of the first queries, in place of made-up ones.
        data_seed: Of queries, judgements and passages.
        synthetic: Whether an LLM wrote the test queries.
        seed: Of what the run did: its trials and scores.
    """

    queries: int = 40
    trials: int = 12
    documents: int = 60
    words: int = 30
    state: str = "finished"
    titled: bool = False
    audited: bool = False
    texts: Sequence[str] = ()
    data_seed: int = 0
    synthetic: bool = False
    seed: int = 0

    def write(self, folder: Path) -> Path:
        """Write the folder and return it."""
        draw = random.Random(self.data_seed)
        queries = {f"q{at}": self._query(at, draw) for at in range(self.queries)}
        corpus = {f"d{at}": " ".join(draw.choices(WORDS, k=self.words)) for at in range(self.documents)}
        titles = {name: draw.choice(WORDS) if self.titled else "" for name in corpus}
        relevant = {query: {draw.choice([*corpus]): 1} for query in queries}
        draw = random.Random(self.seed)
        if self.texts:
            corpus["d0"] = self.texts[0]
        identity = {"domain": {"name": "fake"}, "data": {"collection": "c"}, "flags": {"seed": self.seed}}
        about = {"schema": 2, "id": folder.name, "number": 1, "identity_hash": "0", "identity": identity}
        write_json(folder / "run.json", about)
        _lines(folder / "ledger.jsonl", self._ledger())
        if self.audited:
            _audit(folder.parent / ".stages" / AUDIT)
        _lines(folder / "traces.jsonl", self._traces(queries, draw))
        _lines(folder / "llm.jsonl", [{"usd": 0.002, "tries": 1, "time": _time(at)} for at in range(self.trials)])
        _lines(
            folder / "dev" / "corpus.jsonl",
            [{"_id": name, "title": titles[name], "text": text} for name, text in corpus.items()],
        )
        if self.state == "finished":
            self._test(folder, queries, relevant, [*corpus], draw)
        if self.state != "interrupted":
            write_json(folder / "report.json", self._report(folder.name))
        return folder

    def _query(self, at: int, draw: random.Random) -> str:
        return self.texts[at] if at < len(self.texts) else f"{' '.join(draw.choices(WORDS, k=4))} {at}"

    def _ledger(self) -> list[dict[str, object]]:
        action = {
            "event": "action",
            "number": 1,
            "action": {"kind": "search-instruction"},
            "by": "stm",
            "reason": "first",
        }
        outcome = {"number": 1, "gain": 0.05, "failed": False, "model": "merge (hard 1.00)", "seconds": 60.0}
        experts = ["plain", "hard"]
        merges = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
        point = {"dev": 0.5, "general": 0.4, "verified": True, "weights": [0.0, 1.0]}
        audit: list[dict[str, object]] = [{"event": "stage", "name": "audit", "folder": AUDIT}] if self.audited else []
        entries: list[dict[str, object]] = [
            {"event": "base", "search": 0.4, "general": 0.3},
            action,
            *(_expert(name, 0.42 + 0.03 * at) for at, name in enumerate(experts)),
            *(_merge(experts, weights, 0.43 + 0.01 * at) for at, weights in enumerate(merges)),
            *audit,
            {"event": "front", "experts": {name: f"train-{name}" for name in experts}, "points": [point]},
            {
                "event": "decision",
                "lever": "merge",
                "text": "round 1: merge (hard 1.00) taken",
                "kept": True,
                "weights": {"hard": 1.0},
            },
            {"event": "failure", "lever": "expert third", "kind": "memory", "reason": "out of memory"},
            {"event": "outcome", "kind": "merge", **outcome},
            {"event": "decision", "lever": "confirmation", "text": "merge (hard 1.00) confirmed", "kept": True},
        ]
        last = len(entries) - 1
        times = {0: -1, 1: 0, last - 1: self.trials + 10, last: self.trials + 11}
        return [{"schema": 2, "time": _time(times.get(at, self.trials)), **entry} for at, entry in enumerate(entries)]

    def _traces(self, queries: Mapping[str, str], draw: random.Random) -> list[dict[str, object]]:
        names, lines = list(queries)[:400], list[dict[str, object]]()
        for at in range(self.trials):
            text = self.texts[at] if at < len(self.texts) else " ".join(draw.choices(WORDS, k=12))
            scores = {query: round(draw.random(), 3) for query in names}
            chat = [{"role": "system", "content": "Write one instruction."}, {"role": "user", "content": text}]
            trial: dict[str, object] = {
                "event": "trial",
                "trial": f"i{at + 1:04d}",
                "key": str(at),
                "lever": "instruction",
                "text": text,
                "passage": PASSAGES.get(at, ""),
            }
            trial |= {"origin": "reflection" if at else "none", "parent": f"i{at:04d}" if at else None, "model": "m"}
            trial |= {"mean": None if at % 5 == 4 else 0.3 + draw.random() / 5, "passages": 60, "per_query": scores}
            trial |= {"top": {query: [f"d{draw.randrange(self.documents)}"] for query in names}, "messages": chat}
            trial |= {
                "answer": text,
                "shown": [{"query": text, "score": 0.5, "why": "rank 3"}],
                "tokens": 90,
                "usd": 0.002,
            }
            lines.append({"schema": 2, "time": _time(at), **trial})
            if at % 5 == 4:
                reason = "refused: it leaves no room for the query"
                lines.append({"event": "decision", "trial": f"i{at + 1:04d}", "accepted": False, "reason": reason})
        return [*lines, {"event": "texts", "queries": dict(queries), "passages": {}}]

    def _test(
        self,
        folder: Path,
        queries: Mapping[str, str],
        relevant: Mapping[str, Mapping[str, int]],
        names: Sequence[str],
        draw: random.Random,
    ) -> None:
        scores = {row: {query: round(draw.random(), 4) for query in queries} for row in ROWS}
        first = {row: {query: draw.choices(names, k=5) for query in queries} for row in ROWS}
        write_json(folder / "test_per_query.json", scores)
        answers = {"schema": 1, "queries": dict(queries), "relevant": relevant, "rows": first}
        write_json(folder / "test_answers.json", {**answers, "synthetic": self.synthetic})

    def _report(self, name: str) -> dict[str, object]:
        finished = self.state == "finished"
        versus = {"delta": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.001}
        row = {"low": 0.4, "high": 0.6, "recall_at_100": 0.9, "mrr_at_10": 0.5, "merged_minus_this": versus}
        return {
            "schema": 2,
            "run": name,
            "state": self.state,
            "reason": "" if finished else "stopped by a person",
            "domain": "fake",
            "collection": {"source": "made up", "licence": "CC0-1.0", "documents": self.documents, "test_queries": 40}
            | {"synthetic": ["dev", "test"] if self.synthetic else []},
            "rows": {name: {"ndcg_at_10": 0.4 + 0.02 * at, **row} for at, name in enumerate(ROWS)} if finished else {},
            "model_label": "merge (hard 1.00)",
            "weights": {"hard": 1.0},
            "rank_correlation": 0.8,
            "front_taken": 1,
            "instruction": "",
            "dev": {"base": 0.4, "merged": 0.45},
            "general": {"base": 0.3, "merged": 0.29},
            "gate": {"looks": 1, "alpha": 0.05, "alpha_spent": 0.04, "considered": 5, "search_queries": 40}
            | {"accept_queries": 60, "smallest_gain": 0.02, "mode": "halves"},
            **({"dev_to_test_gap": 0.01, "test_openings": 1} if finished else {}),
            "failures": [{"lever": "expert third", "kind": "memory", "reason": "out of memory"}],
            "warnings": ["mine: 4 of 72 pairs have no mined negative"],
            "notes": [],
            "race": [
                {"name": "BM25", "ndcg_at_10": 0.35, "seconds_per_1000": None},
                {"name": "embedded:all-minilm-l6-v2", "ndcg_at_10": 0.44, "seconds_per_1000": 9.5},
                {"name": "another/start", "ndcg_at_10": 0.41, "seconds_per_1000": 31.25},
            ],
            "plan": [],
            "cost": {"usd": 0.024, "llm_calls": 12, "minutes": 1.5, "seconds": {"train": 60.0}, "peak_memory_gib": 1.0},
            "model": f"runs/{name}/model",
        }


def _audit(stage: Path) -> None:
    after = {"share": 0.031, "low": 0.02, "high": 0.05, "count": 980}
    rates = {"bm25": {"before": RATE, "after": after}, "written": {"before": RATE}}
    write_json(stage / "audit.json", {"rates": rates})
    write_atomic(stage / "verdicts.jsonl", "")


def _expert(name: str, score: float) -> dict[str, object]:
    fields = {
        "name": name,
        "variant": "FT",
        "folder": f"train-{name}",
        "steps": 30,
        "pairs": 72,
        "negatives": {"bm25": 9},
    }
    return {"event": "expert", **fields, "search": score, "general": 0.3}


def _merge(experts: list[str], weights: list[float], score: float) -> dict[str, object]:
    fields = {"experts": experts, "weights": weights, "dev": score, "general": 0.3, "surrogate": score + 0.01}
    return {"event": "merge", "round": 1, **fields, "allowed": True}


def _time(second: int) -> str:
    hour, rest = divmod(36_000 + second, 3600)
    return f"2026-01-01T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}+00:00"


def _lines(path: Path, entries: Sequence[Mapping[str, object]]) -> None:
    write_atomic(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def content_of(page: bytes) -> dict[str, object]:
    """Return what a page holds, unpacked."""
    (packed,) = re.findall(rb'id="content">([^<]*)<', page)
    content: dict[str, object] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return content
