"""A run whose experts learn from a teacher's scores."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.files import read_json
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options


@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_trains_on_teacher_scores(tiny_domain, workspace, tmp_path):
    values = tiny_domain.model_dump(mode="json")
    taught = {"name": "taught", "sources": ["train"], "steps": 25, "loss": "distil", "candidates": 3}
    values |= {"experts": [taught], "teach": {"encoders": [], "bm25": 1.0, "candidates": 6}, "general": []}
    values["loop"]["probe_steps"] = 0
    options = Options(generator="scripted:numbered")
    report = optimize(DomainSpec.model_validate(values), options, workspace=workspace, runs=tmp_path / "runs")
    assert "expert taught" in report["rows"]
    (teaching,) = (tmp_path / "runs" / ".stages").glob("teach-*")
    pairs = read_json(teaching / "counts.json")["pairs"]
    (training,) = (tmp_path / "runs" / ".stages").glob("train-*")
    about = read_json(training / "expert.json")
    assert about["rows"] == pairs > 0
    assert about["skipped"] == {}


@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_trains_on_the_scores_of_its_own_triplets_and_asks_no_teacher(tiny_domain, workspace, tmp_path):
    from stm_agent.domain.build import build_domain_data

    pairs = build_domain_data(tiny_domain.collection, workspace).sources["train"]
    rows = [
        {"anchor": f"{pair.query} again", "positive": pair.positive, "negative": other.positive, "score": [7, 2]}
        for pair, other in pairwise(pairs)
        if pair.positive != other.positive
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = tiny_domain.model_dump(mode="json")
    values["collection"]["sources"] = [{"name": "own", "path": str(tmp_path / "own.jsonl")}]
    taught = {"name": "taught", "sources": ["own"], "steps": 25, "loss": "distil", "candidates": 1}
    values |= {"experts": [taught], "general": []}
    values["loop"]["probe_steps"] = 0
    options = Options(generator="scripted:numbered")
    report = optimize(DomainSpec.model_validate(values), options, workspace=workspace, runs=tmp_path / "runs")
    assert "expert taught" in report["rows"]
    assert not list((tmp_path / "runs" / ".stages").glob("teach-*"))
    assert any(f"{len(rows):,} pairs have scores of their own" in note for note in report["notes"])
    (training,) = (tmp_path / "runs" / ".stages").glob("train-*")
    assert read_json(training / "expert.json")["rows"] == len(rows)
