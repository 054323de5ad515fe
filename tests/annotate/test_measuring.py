"""nDCG@10 of the tool's runs: the number of ``stm-agent evaluate``, holes both ways, queries that are not ranked."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stm_agent.annotate.services.measuring import measure
from stm_agent.annotate.services.outcome import Graded
from stm_agent.annotate.tool import open_tool
from stm_agent.cli.annotate import app
from stm_agent.cli.main import build
from stm_agent.testing.annotate import client, fill


def outcome(grades, **splits):
    return Graded(dict.fromkeys(grades, "text"), {}, {query: splits.get(query, "dev") for query in grades}, grades)


def test_ndcg_with_holes_is_no_lower_bound():
    told = measure({"q": {"d1": 3.0, "d2": 2.0, "d3": 1.0}}, outcome({"q": {"d1": 1}}), best=2)
    assert told["ndcg_at_10"] == 1
    assert told["ndcg_at_10_holes_best"] == pytest.approx((1 + 2 / 1.585 + 1) / (2 + 2 / 1.585 + 0.5), abs=1e-3)
    assert told["ndcg_at_10_holes_best"] < told["ndcg_at_10"], "what is found behind the hole may be better"


def test_queries_that_a_run_does_not_rank_are_told_apart_from_a_score_of_zero():
    grades = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d4": 0}}
    told = measure({"q1": {"d1": 1.0}, "q2": {"d9": 1.0}, "q4": {"d4": 1.0}}, outcome(grades, q3="test"), best=1)
    assert (told["scored_queries"], told["unranked"]) == (3, 1)
    assert (told["ndcg_at_10"], told["ndcg_at_10_ranked"]) == (pytest.approx(1 / 3), 0.5)
    assert told["splits"] == {"dev": 0.5, "test": 0.0}


def test_without_a_relevant_passage_there_is_nothing_to_measure():
    told = measure({"q": {"d1": 1.0}}, outcome({"q": {"d1": 0}}), best=1)
    assert (told["ndcg_at_10"], told["ndcg_at_10_holes_best"], told["splits"], told["unranked"]) == (None, None, {}, 0)


def test_runs_stats_and_evaluate_have_the_same_number(tmp_path):
    (tmp_path / "programs").mkdir()
    tool = open_tool(tmp_path, team=True)
    fill(tool)
    ada = client(tool, "Ada")
    place = "/projects/signs"
    for key, text, split in (("q3", "sudden fever", "dev"), ("q4", "colour of lungs", "test"), ("q5", "zzz", "dev")):
        ada.post(f"{place}/queries", json={"key": key, "text": text, "split": split})
    ada.post(f"{place}/runs", json={"retrievers": ["bm25"]})
    for query, document in (("q1", "d1"), ("q2", "d1"), ("q3", "d1"), ("q4", "d2"), ("q5", "d2")):
        assert ada.put(f"{place}/queries/{query}/judgements/{document}", json={"grade": 1}).is_success
    (run,) = ada.get(f"{place}/runs").json()["runs"]
    assert run["unranked"] == 1, "no document has a word of q5"
    tool.close()
    runner, space = CliRunner(), ["--workspace", str(tmp_path)]
    told = runner.invoke(app, ["stats", "signs", "--json", *space])
    assert json.loads(told.stdout)["runs"] == [run]
    shown = runner.invoke(app, ["stats", "signs", *space]).stdout
    assert "1 of 5 queries not ranked" in shown
    folder = str(tmp_path / "judged")
    assert runner.invoke(app, ["export", "signs", "beir", "--output", folder, *space]).exit_code == 0
    for split in ("dev", "test"):
        done = runner.invoke(build(), ["evaluate", "bm25", "--collection", folder, "--split", split, "--json"])
        assert json.loads(done.stdout)["ndcg_at_10"] == pytest.approx(run["splits"][split])
