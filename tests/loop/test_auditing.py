"""What the loop makes of verdicts: negatives go, pairs come, and the numbers are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.files import read_jsonl
from stm_agent.loop.auditing import apply_verdicts
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine.negatives import Negative
from stm_agent.mine.reviewed import Verdict, answers_of, write_verdicts

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


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_audits_between_mining_and_training(tiny_domain: DomainSpec, workspace: Path) -> None:
    """A person's answer makes a pair of a mined passage; without known positives there is a reason, not a rate."""
    spec = tiny_domain.model_copy(update={"experts": tiny_domain.experts[:1]})
    asks = spec.experts[0].negatives.model_copy(update={"mined": 1})
    spec = spec.model_copy(update={"experts": (spec.experts[0].model_copy(update={"negatives": asks, "steps": 4}),)})
    options, runs = Options(generator="scripted:numbered"), workspace / "runs"
    report = optimize(spec, options, workspace=workspace, runs=runs)
    notes = [note for note in report["notes"] if note.startswith("audit: ")]
    assert [note for note in notes if "no estimate" in note]
    ledger = read_jsonl(runs / report["run"] / "ledger.jsonl")
    (stage,) = [line["folder"] for line in ledger if line["event"] == "stage" and line["name"] == "audit"]
    verdicts = runs / ".stages" / stage / "verdicts.jsonl"
    first = json.loads(verdicts.read_text().splitlines()[0])
    write_verdicts(workspace, "p", [Verdict(first["query"], first["negative"], "false_negative")])
    again = optimize(spec, options, workspace=workspace, runs=runs)
    assert [note for note in again["notes"] if note.startswith("audit: ") and "1 relabelled" in note]
