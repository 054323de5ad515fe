"""The lever of the query map: taken by the gate, confirmed, exported with the start's own passages, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.deploy.planning import plan_migration
from stm_agent.deploy.product import product_of_run
from stm_agent.domain.beir import write_beir
from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.files import read_jsonl
from stm_agent.inspect.page.record import read_record
from stm_agent.inspect.page.timeline import timeline
from stm_agent.inspect.why import reason_lines, why
from stm_agent.loop.final import UNMAPPED
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.plan import plan
from stm_agent.loop.policies.stm import published_order
from stm_agent.loop.query_map import LEVER, MAPPED, _is_learnable
from stm_agent.loop.report_rows import Report
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.testing.tiny import tiny_collection
from stm_agent.train.query_map import QueryMapJob

IN_FRONT = {"train": ("so so so so", "so so"), "dev": ("so so so",), "test": ("so so so so so",)}


@pytest.fixture
def tiny_domain(tiny_domain: DomainSpec) -> DomainSpec:
    return tiny_domain.model_copy(update={"loop": tiny_domain.loop.model_copy(update={"query_map": True})})


@pytest.fixture
def domain(tiny_domain: DomainSpec, tmp_path: Path) -> DomainSpec:
    """A domain whose queries are all moved in one direction, and whose only expert learns nothing: it is left out."""
    tiny = tiny_collection()
    splits = {}
    for name, fronts in IN_FRONT.items():
        queries = {f"{front}/{doc.id}": f"{front} {doc.text}" for front in fronts for doc in tiny.documents}
        splits[name] = Split(name, queries, {query: {query.split("/")[1]: 1} for query in queries})
    moved = Collection("moved", tiny.documents, splits, "CC0-1.0", "made by a test")
    values = tiny_domain.model_dump(mode="json")
    values |= {"collection": {"kind": "beir", "path": str(write_beir(moved, tmp_path / "moved"))}, "general": []}
    values["experts"] = [{"name": "plain", "sources": ["train"], "steps": 4}]
    values["train"] |= {"learning_rate": 1e-9}
    return DomainSpec.model_validate(values)


def run(spec: DomainSpec, workspace: Path) -> tuple[Report, Path, list[dict[str, Any]]]:
    options = Options(generator="scripted:numbered")
    report = optimize(spec, options, workspace=workspace, runs=workspace / "runs", observer=lambda event: None)
    folder = workspace / "runs" / report["run"]
    return report, folder, list(read_jsonl(folder / "ledger.jsonl"))


def of_lever(ledger: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    assert not [line for line in ledger if line["event"] == "failure" and line["lever"] == LEVER]
    (entry,) = [line for line in ledger if line["event"] == LEVER]
    (decision,) = [line for line in ledger if line["event"] == "decision" and line["lever"] == LEVER]
    return entry, decision


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_map_that_helps_is_taken_confirmed_and_exported(domain: DomainSpec, workspace: Path) -> None:
    report, folder, ledger = run(domain, workspace)
    entry, decision = of_lever(ledger)
    assert entry["kept_step"] and entry["gain"] > 2 * entry["standard_error"]
    assert decision["kept"], decision["text"]
    assert report["model_label"].endswith(MAPPED)
    rows = report["rows"]
    assert rows["merged"]["ndcg_at_10"] > rows[UNMAPPED]["ndcg_at_10"] + 0.05
    (proved,) = [line for line in ledger if line["event"] == "proved"]
    assert abs(proved["dev"] - proved["reloaded"]) < 1e-4

    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / "model"), device="cpu")
    text = ["so so so so A finding"]
    assert not np.allclose(model.encode_query(text), model.encode_document(text), atol=1e-3)
    migration = plan_migration(product_of_run(folder), 1000, dollars_per_hour=None, texts_per_second=100.0, machines=1)
    assert migration.queries_alone, "the old index can stay"
    lines = list(reason_lines(why(folder)))
    assert any("map on query vectors:" in line and "held-out" in line for line in lines), lines
    assert any(f"taken on the search half: round 1: {report['model_label']}" in line for line in lines), lines

    (dot,) = [dot for dot in timeline(read_record(folder))["dots"] if dot["label"].startswith(report["model_label"])]
    assert (dot["outcome"], dot["value"]) == ("taken", entry["search"])

    assert "vectors of queries pass through a linear map" in (folder / "model" / "README.md").read_text()

    again, _, _ = run(domain, workspace)
    assert again["rows"] == report["rows"]


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_map_that_learns_nothing_leaves_the_model_as_it_is(tiny_domain: DomainSpec, workspace: Path) -> None:
    report, folder, ledger = run(tiny_domain.model_copy(update={"experts": tiny_domain.experts[:1]}), workspace)
    entry, decision = of_lever(ledger)
    if not decision["kept"]:
        assert not report["model_label"].endswith(MAPPED)
        assert UNMAPPED not in report["rows"]
        assert not (folder / "model" / "router_config.json").exists()
    assert entry["rows"] > 0


def test_pairs_whose_passages_are_not_in_the_corpus_teach_no_map(tiny_domain: DomainSpec, tmp_path: Path) -> None:
    pair = Pair("p", "a query", "a passage of a training set", "own", "g")
    job = QueryMapJob(
        model=AdaptedModel(tiny_domain.backbone),
        pairs=(pair,),
        pool={"d": "a passage of the corpus"},
        groups={"g": frozenset({"elsewhere"})},
        instruction=Instruction(),
        cache=tmp_path,
    )
    assert not _is_learnable(job)
    assert _is_learnable(replace(job, groups={"g": frozenset({"d"})}))
    assert _is_learnable(replace(job, pool={"d": pair.positive}))


def test_the_order_and_the_plan_have_the_map_last_unless_it_is_switched_off(
    tiny_domain: DomainSpec, workspace: Path
) -> None:
    assert [action.kind for action in published_order(tiny_domain, 1)][-1] == "train-query-map"
    stages = [row["stage"] for row in plan(tiny_domain, workspace, Options(generator="scripted:numbered"))]
    assert "  train-query-map" in stages
    off = tiny_domain.loop.model_copy(update={"query_map": False})
    shorter = tiny_domain.train.model_copy(update={"matryoshka": (16,)})
    for change in ({"loop": off}, {"train": shorter}):
        kinds = [action.kind for action in published_order(tiny_domain.model_copy(update=change), 1)]
        assert "train-query-map" not in kinds
