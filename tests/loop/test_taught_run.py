"""A run whose experts learn from a teacher's scores."""

from __future__ import annotations

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
