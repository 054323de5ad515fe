"""Per-query nDCG@10 of real models on real collections: what ``benchmarks/gate.py`` draws its worlds from.

    python benchmarks/gate_scores.py --data DATA   # DATA holds medquad/, scifact/, ... in BEIR layout; 15 minutes

For each collection, 18 models times 8 query instructions. The models are all-MiniLM-L6-v2, linear adapters trained on
it (three experts on three parts of the train queries, early and late, one with a second seed), weighted merges of the
experts, a mean of two layers, and fusions with BM25. Queries that train the adapters are not scored.
Writes ``benchmarks/results/gate_scores.npz``: a ``[queries, models, instructions]`` float16 array and a group number
of each query for each collection. Texts are not stored.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stm_agent.domain.beir import read_beir
from stm_agent.domain.collection import Split
from stm_agent.files import sha256_text

OUT = Path(__file__).parent / "results" / "gate_scores.npz"
FOLDERS = ("medquad", "scifact", "pubmedqa", "tldr", "xquad-en")
QUERIES, DOCUMENTS, PAIRS, TOKENS = 1000, 2500, 1500, 96
INSTRUCTIONS = (
    "",
    "query: ",
    "Question: ",
    "search for: ",
    "Find passages on the same topic. ",
    "Given a question, find the passages that answer it. ",
    "Represent this sentence for searching relevant passages: ",
    "Given everyday words, find the professional text that describes the same thing. ",
)
MERGES = ((1, 1, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2), (3, 1, 1), (1, 3, 1), (1, 1, 3))
MODELS = (
    *("base", "A early", "A late", "A late, seed 1", "B early", "B late", "C early", "C late"),
    *(f"merge {a}:{b}:{c}" for a, b, c in MERGES),
    *("two layers", "fused 0.1", "fused 0.3"),
)


@dataclass(frozen=True)
class Task:
    """A collection cut for this benchmark; ``pairs`` are (query, passage) texts that adapters learn from."""

    documents: Mapping[str, str]
    split: Split
    groups: Mapping[str, int]
    pairs: Sequence[tuple[str, str]]


def _hashed(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: sha256_text(f"gate {name}"))


def beir_task(folder: Path) -> Task:
    """Score whole groups of queries, at most 60 % of them; train on the others."""
    from stm_agent.loop.halves import cut_dev

    collection = read_beir(folder)
    queries = {key: text for split in collection.splits.values() for key, text in split.queries.items()}
    qrels = {key: dict(row) for split in collection.splits.values() for key, row in split.qrels.items()}
    groups = cut_dev(Split("all", queries, qrels)).groups
    members: dict[int, list[str]] = {}
    for query in _hashed(list(queries)):
        members.setdefault(groups[query], []).append(query)
    scored: list[str] = []
    for group in members.values():
        if len(scored) + len(group) <= min(QUERIES, int(0.6 * len(queries))):
            scored += group
    inside = set(scored)
    texts = collection.texts
    judged = {doc for query in scored for doc in qrels[query] if qrels[query][doc] > 0}
    documents = [*sorted(judged), *(doc for doc in _hashed(list(texts)) if doc not in judged)]
    documents = documents[: max(DOCUMENTS, len(judged))]
    split = Split("all", {key: queries[key] for key in scored}, {key: qrels[key] for key in scored})
    training = [
        (queries[query], texts[max(qrels[query], key=lambda doc: qrels[query][doc])])
        for query in _hashed(list(queries))
        if query not in inside
    ]
    return Task({doc: texts[doc] for doc in documents}, split, groups, training[:PAIRS])


def hpo_task() -> Task:
    """Score the layperson terms of dev and test; train on the others'."""
    from stm_agent.domain.hpo import build_hpo
    from stm_agent.domain.spec import HpoCollection
    from stm_agent.loop.halves import cut_dev

    material = build_hpo(HpoCollection(documents=DOCUMENTS))
    splits = material.collection.splits.values()
    queries = {key: text for split in splits for key, text in split.queries.items()}
    chosen = _hashed(list(queries))[:QUERIES]
    qrels = {key: dict(row) for split in splits for key, row in split.qrels.items()}
    split = Split("all", {key: queries[key] for key in chosen}, {key: qrels[key] for key in chosen})
    pairs = [(pair.query, pair.positive) for pair in material.sources["lay"]]
    order = sorted(range(len(pairs)), key=lambda number: sha256_text(f"gate {pairs[number]}"))
    return Task(material.collection.texts, split, cut_dev(split).groups, [pairs[number] for number in order[:PAIRS]])


def encode(model: Any, texts: Sequence[str]) -> tuple[Any, Any]:
    """Return mean-pooled vectors of the last layer, and of the mean of the last two; not normalised."""
    import torch

    network, tokenizer = model
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    last = torch.empty(len(texts), network.config.hidden_size)
    mixed = torch.empty_like(last)
    with torch.inference_mode():
        for begin in range(0, len(order), 64):
            rows = order[begin : begin + 64]
            batch = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
            )
            layers = network(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"][..., None].float()
            for store, layer in ((last, layers[-1]), (mixed, (layers[-1] + layers[-2]) / 2)):
                store[rows] = (layer * mask).sum(1) / mask.sum(1)
    return last, mixed


def train(queries: Any, passages: Any, seed: int, steps: Sequence[int]) -> list[Any]:
    """Train a residual linear map of both sides with InfoNCE; return it after each number of steps."""
    import torch

    torch.manual_seed(seed)
    matrix = torch.zeros(queries.shape[1], queries.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([matrix], lr=1e-3)
    found = []
    for step in range(1, max(steps) + 1):
        rows = torch.randperm(len(queries))[:64]
        left, right = adapt(queries[rows], matrix), adapt(passages[rows], matrix)
        loss = torch.nn.functional.cross_entropy(20 * left @ right.T, torch.arange(len(rows)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in steps:
            found.append(matrix.detach().clone())
    return found


def adapt(vectors: Any, matrix: Any) -> Any:
    """Apply an adapter and normalise."""
    import torch

    return torch.nn.functional.normalize(vectors + vectors @ matrix, dim=-1)


def adapters(model: Any, task: Task) -> list[Any]:
    """Train three experts on three parts of the pairs, and merge them."""
    import torch

    normal = torch.nn.functional.normalize
    queries = normal(encode(model, [query for query, _ in task.pairs])[0], dim=-1)
    passages = normal(encode(model, [passage for _, passage in task.pairs])[0], dim=-1)
    experts: list[list[Any]] = [train(queries[part::3], passages[part::3], part, (20, 80)) for part in range(3)]
    again = train(queries[0::3], passages[0::3], 11, (80,))[0]
    zero = torch.zeros_like(again)
    singles = [zero, *experts[0], again, *experts[1], *experts[2]]
    merges = [
        sum(share / sum(shares) * expert[-1] for share, expert in zip(shares, experts, strict=True))
        for shares in MERGES
    ]
    return [*singles, *merges]


def bm25_matrix(task: Task) -> Any:
    """Return BM25 scores of the 100 best passages of each query, the best 1, the others 0; ``[queries, documents]``."""
    from stm_agent.evaluate.bm25 import Bm25Index

    column = {document: number for number, document in enumerate(task.documents)}
    scores = np.zeros((len(task.split.queries), len(column)), dtype=np.float32)
    for row, hits in enumerate(Bm25Index(task.documents).search(list(task.split.queries.values()), 100)):
        best = max((score for _, score in hits), default=0.0) or 1.0
        for document, score in hits:
            scores[row, column[document]] = score / best
    return scores


def per_query(similarity: Any, task: Task) -> list[float]:
    """Return nDCG@10 of each query from ``[queries, documents]`` similarities."""
    from stm_agent.evaluate.metrics import score

    names = list(task.documents)
    top = np.argpartition(-similarity, 9, axis=1)[:, :10]
    run = {
        query: {names[column]: float(similarity[row, column]) for column in top[row]}
        for row, query in enumerate(task.split.queries)
    }
    scores = score(run, task.split.qrels).per_query
    return [scores[query] for query in task.split.queries]


def score_task(model: Any, task: Task) -> Any:
    """Return ``[queries, models, instructions]`` nDCG@10."""
    import torch

    normal = torch.nn.functional.normalize
    maps, lexical = adapters(model, task), bm25_matrix(task)
    last, mixed = encode(model, list(task.documents.values()))
    table = np.empty((len(task.split.queries), len(MODELS), len(INSTRUCTIONS)), dtype=np.float16)
    for column, instruction in enumerate(INSTRUCTIONS):
        queries, queries_mixed = encode(model, [instruction + text for text in task.split.queries.values()])
        found = [(adapt(normal(queries, dim=-1), m) @ adapt(normal(last, dim=-1), m).T).numpy() for m in maps]
        uniform = found[MODELS.index("merge 1:1:1")]
        found += [(normal(queries_mixed, dim=-1) @ normal(mixed, dim=-1).T).numpy()]
        found += [uniform + weight * lexical for weight in (0.1, 0.3)]
        for row, similarity in enumerate(found):
            table[:, row, column] = per_query(similarity, task)
    return table


def main() -> None:
    """Score every collection and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {', '.join(FOLDERS)}")
    options = parser.parse_args()
    from transformers import AutoModel, AutoTokenizer

    from stm_agent.backbone.embedded import resolve_model

    source = resolve_model("embedded:all-minilm-l6-v2")
    model = AutoModel.from_pretrained(source).eval(), AutoTokenizer.from_pretrained(source)
    stored: dict[str, Any] = {"models": np.array(MODELS), "instructions": np.array(INSTRUCTIONS)}
    for name in ("hpo", *FOLDERS):
        started = time.monotonic()
        task = hpo_task() if name == "hpo" else beir_task(options.data / name)
        table = score_task(model, task)
        stored[f"{name}.scores"] = table
        stored[f"{name}.groups"] = np.array([task.groups[query] for query in task.split.queries], dtype=np.int32)
        means = ", ".join(f"{label} {table[:, row, 0].mean():.3f}" for row, label in enumerate(MODELS))
        sys.stdout.write(f"{name}: {len(table)} queries, {time.monotonic() - started:.0f} s; {means}\n")
        sys.stdout.flush()
    np.savez_compressed(OUT, **stored)


if __name__ == "__main__":
    main()
