"""What the loop makes of verdicts: negatives go, pairs come, and the numbers are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec, DomainSpec
from stm_agent.files import read_json, read_jsonl
from stm_agent.loop.auditing import ONE_POSITIVE, AuditReport, apply_verdicts, audited
from stm_agent.loop.data_jobs import first_miner, mining_job
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.query_rating import people_of
from stm_agent.loop.runs import open_run
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine import calibration
from stm_agent.mine.evidence import Found
from stm_agent.mine.negatives import Negative
from stm_agent.mine.reviewed import Verdict, answers_of, write_verdicts
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.audit_job import REPORT
from stm_agent.testing.chat_server import ChatServer

PAIRS = (
    Pair("q:a", "what is gout", "a disease", "train", "q", related=(("near", 0.5),)),
    Pair("q:b", "What is gout?", "a pain", "train", "q"),
)


def test_verdicts_hold_for_every_pair_with_the_query() -> None:
    negatives = (Negative("of uric acid", "bm25", "1"), Negative("of the arm", "bm25", "2"), Negative("x y", "bm25"))
    rows = [
        {"pair": "q:a", "query": PAIRS[0].query, "negative": "of uric acid", "decision": "relabelled"},
        {"pair": "q:a", "query": PAIRS[0].query, "negative": "x y", "decision": "queued"},
        {"pair": "q:a", "query": PAIRS[0].query, "negative": "of the arm", "decision": "negative"},
    ]
    data = apply_verdicts(PAIRS, rows, TrainingData(mined={"q:a": negatives, "q:b": negatives}))
    (new,) = data.relabelled
    assert (new.query, new.positive, new.source, new.group, new.related) == (
        "what is gout",
        "of uric acid",
        "train",
        "q",
        (),
    )
    assert {negative.text for row in data.mined.values() for negative in row} == {"of the arm"}
    assert set(data.mined) == {"q:a", "q:b", new.id}


def test_answers_of_people_are_read_and_the_last_one_counts(tmp_path: Path) -> None:
    write_verdicts(tmp_path, "a", [Verdict("Q", "N", "negative")])
    write_verdicts(tmp_path, "b", [Verdict("q", "n", "false_negative"), Verdict("q", "m", "perhaps")])
    assert answers_of(tmp_path) == (("q", "n", "false_negative"),)


def test_a_judge_with_a_wrong_key_costs_its_judgements_until_the_key_is_right(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr(calibration, "SAMPLES", 20)
    spec = tiny_domain.model_copy(update={"audit": AuditSpec(judge="openai/judge", judged=8)})
    runs = workspace / "runs"
    with ChatServer() as server:
        options = Options(generator="openai/writer", api_base=server.url)

        def audit() -> tuple[list[str], AuditReport]:
            run = open_run(runs, spec.name, {"test": "audit"})
            with open_context(spec, options, run, workspace=workspace, runs=runs, observer=lambda event: None) as ready:
                miner, people = first_miner(spec), people_of(ready)[:24]
                # Two positives a query: known positives say what a grade is worth.
                pairs = tuple(
                    pair
                    for one, other in zip(people, [*people[1:], people[0]], strict=True)
                    for pair in (one, replace(one, id=f"{one.id}+", positive=other.positive))
                )
                folder = ready.build(mining_job(spec, ready.data, pairs, miner, ready.cache))
                relevant = {pair.id: (Negative(pair.positive, "bm25", pair.id),) for pair in pairs}
                found = Found(negatives=load_negatives(folder), doubtful={}, relevant=relevant, written={})
                audited(ready, pairs, found, miner, TrainingData(mined=found.negatives))
                names = [row["folder"] for row in run.ledger.entries("stage") if row["name"] == "audit"]
            run.close()
            return [failure.reason for failure in ready.failures], read_json(runs / ".stages" / names[-1] / REPORT)

        server.answers = [(401, "no such key")]
        lost, report = audit()
        assert "refuses the API key" in lost[0]
        assert sum(row["written"] for row in report["judge"].values() if isinstance(row, dict)) == 0
        assert report["decisions"], "scores decide without the judge"
        server.answers, asked = ["grade 0: another topic"], len(server.bodies)
        lost, report = audit()
        assert lost == []
        assert len(server.bodies) > asked
        assert sum(row["written"] for row in report["judge"].values() if isinstance(row, dict)) == 16
        asked = len(server.bodies)
        audit()
        assert len(server.bodies) == asked, "a whole audit is found again"


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_audits_between_mining_and_training(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's answer makes a pair of a mined passage; with few known positives there is a reason, not a rate."""
    monkeypatch.setattr(calibration, "FEWEST_KNOWN", 1000)
    spec = tiny_domain.model_copy(update={"experts": tiny_domain.experts[:1]})
    asks = spec.experts[0].negatives.model_copy(update={"mined": 1})
    spec = spec.model_copy(update={"experts": (spec.experts[0].model_copy(update={"negatives": asks, "steps": 4}),)})
    spec = spec.model_copy(update={"audit": spec.audit.model_copy(update={"judge": "scripted:gone"})})
    options, runs = Options(generator="scripted:numbered"), workspace / "runs"
    report = optimize(spec, options, workspace=workspace, runs=runs)
    (warning,) = [text for text in report["warnings"] if text.startswith("audit: mined: scripted:gone is not asked")]
    assert "known positives were found by retrieval; it needs 1000 of 10 queries)" in warning
    assert "scripted:gone" not in (runs / report["run"] / "model" / "README.md").read_text(), "it judged nothing"
    assert warning.endswith("judge more passages, for example with 'stm-agent annotate'")
    ledger = read_jsonl(runs / report["run"] / "ledger.jsonl")
    (stage,) = [line["folder"] for line in ledger if line["event"] == "stage" and line["name"] == "audit"]
    verdicts = runs / ".stages" / stage / "verdicts.jsonl"
    first = json.loads(verdicts.read_text().splitlines()[0])
    write_verdicts(workspace, "p", [Verdict(first["query"], first["negative"], "false_negative")])
    again = optimize(spec, options, workspace=workspace, runs=runs)
    assert [note for note in again["notes"] if note.startswith("audit: ") and "1 relabelled" in note]


def test_a_run_with_one_judged_passage_a_query_has_rates_before_and_after(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SAMPLES", 20)
    runs = workspace / "runs"
    run = open_run(runs, tiny_domain.name, {"test": "one positive"})
    options = Options(generator="scripted:numbered")
    with open_context(
        tiny_domain, options, run, workspace=workspace, runs=runs, observer=lambda event: None
    ) as context:
        pairs, miner = people_of(context), first_miner(tiny_domain)
        folder = context.build(mining_job(tiny_domain, context.data, pairs, miner, context.cache))
        parts = {name: load_negatives(folder / name) for name in ("doubtful", "relevant")}
        found = Found(negatives=load_negatives(folder), written={}, **parts)
        data = audited(context, pairs, found, miner, TrainingData(mined=found.negatives))
    run.close()
    assert data.relabelled == ()
    notes = [text for text in context.notes if text.startswith("audit: ")]
    assert any("estimated false negatives, mined: " in text and " after the audit" in text for text in notes)
    assert f"audit: mined: {ONE_POSITIVE}" in notes
    (stage,) = [row["folder"] for row in run.ledger.entries("stage") if row["name"] == "audit"]
    report: AuditReport = read_json(runs / ".stages" / stage / REPORT)
    assert report["by"]["mined"] == "one positive"
    assert report["rates"]["mined"]["before"]["low"] <= report["rates"]["mined"]["before"]["share"]
