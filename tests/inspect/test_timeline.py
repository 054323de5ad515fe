"""The search over cost: where each trial lies, and what became of it, also in a run that was rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stm_agent.files import append_jsonl, read_json, write_json
from stm_agent.inspect.page.charts import staircase
from stm_agent.inspect.page.record import RunRecord, read_record
from stm_agent.inspect.page.timeline import Timeline, timeline
from stm_agent.testing.run_folder import FakeRun

NOT_CONFIRMED = (
    "merge (q1 1.16) not confirmed: +0.0113 on 125 accept queries, p 0.3306 > 0.0200; rolled back to backbone"
)
Entry = dict[str, Any]


def action(number: int, time: str) -> Entry:
    kind = {"kind": "train-query-expert"}
    return {"event": "action", "number": number, "action": kind, "by": "gain-per-cost", "reason": "", "time": time}


def outcome(number: int, time: str, gain: float, model: str, seconds: float) -> Entry:
    fields = {"number": number, "gain": gain, "model": model, "seconds": seconds, "failed": False}
    return {"event": "outcome", **fields, "time": time}


def expert(name: str, time: str, search: float) -> Entry:
    fields = {"name": name, "variant": "queries alone", "folder": f"train-{name}", "steps": 45, "pairs": 392}
    return {"event": "expert", **fields, "negatives": {}, "search": search, "general": 0.73, "time": time}


def merge(experts: list[str], weights: list[float], time: str, dev: float, method: str = "task-arithmetic") -> Entry:
    fields = {"experts": experts, "weights": weights, "dev": dev, "surrogate": dev, "method": {"method": method}}
    return {"event": "merge", "round": 1, **fields, "general": 0.73, "allowed": True, "time": time}


def decision(text: str, time: str, weights: dict[str, float], *, kept: bool) -> Entry:
    return {"event": "decision", "lever": "merge", "text": text, "kept": kept, "weights": weights, "time": time}


def at(second: int) -> str:
    return f"2026-11-30T03:{29 + second // 60:02d}:{second % 60:02d}+00:00"


# A run of three minutes on a thousand passages of SciFact, shortened: two actions end and begin within one second.
LEDGER: list[Entry] = [
    {"event": "note", "name": "gate", "text": "dev: 84 queries to search on", "time": at(0)},
    {"event": "base", "search": 0.7459, "general": 0.7386, "time": at(43)},
    action(1, at(44)),
    expert("q1", at(59), 0.824),
    decision("round 1: expert q1 taken provisionally: +0.0781", at(59), {"q1": 1.0}, kept=True),
    outcome(1, at(59), 0.0781, "expert q1", 15.0),
    action(2, at(59)),
    merge(["q1"], [1.0], at(64), 0.824),
    merge(["q1"], [1.16], at(64), 0.834),
    decision("round 1: merge (q1 1.16) taken provisionally: +0.0100", at(64), {"q1": 1.16}, kept=True),
    outcome(2, at(64), 0.01, "merge (q1 1.16)", 5.0),
    action(3, at(64)),
    expert("q2", at(81), 0.7975),
    decision("round 1: expert q2 not taken: -0.0365 on the search half", at(81), {"q2": 1.0}, kept=False),
    outcome(3, at(81), 0.0, "merge (q1 1.16)", 16.0),
    {"event": "decision", "lever": "confirmation", "kept": False, "text": NOT_CONFIRMED, "time": at(82)},
    {"event": "failure", "lever": "baseline", "kind": "memory", "reason": "out of memory", "time": at(100)},
    {"event": "finished", "test": 0.8, "time": at(124)},
]


def run_of(folder: Path, ledger: list[Entry], weights: dict[str, float], label: str, minutes: float) -> RunRecord:
    FakeRun(trials=0).write(folder)
    (folder / "ledger.jsonl").unlink()
    for entry in ledger:
        append_jsonl(folder / "ledger.jsonl", {"schema": 2, **entry})
    report = read_json(folder / "report.json") | {"weights": weights, "model_label": label}
    report["cost"]["minutes"] = minutes
    write_json(folder / "report.json", report)
    return read_record(folder)


@pytest.fixture
def rolled_back(tmp_path: Path) -> Timeline:
    return timeline(run_of(tmp_path / "run", LEDGER, {}, "backbone", 2.0))


def fates(search: Timeline) -> dict[str, tuple[str, str]]:
    return {dot["id"]: (dot["outcome"], dot["reason"]) for dot in search["dots"]}


def test_what_was_taken_provisionally_is_not_shown_as_refused(tmp_path):
    ledger = [entry for entry in LEDGER if entry.get("lever") != "confirmation"]
    ledger[10:10] = [
        merge(["q1"], [1.3], at(64), 0.84),
        decision("round 1: merge (q1 1.30) taken provisionally: +0.0060", at(64), {"q1": 1.3}, kept=True),
    ]
    found = fates(timeline(run_of(tmp_path / "run", ledger, {"q1": 1.3}, "merge (q1 1.30)", 2.0)))
    assert found["expert:q1"] == ("taken", "weight 1.30 in the model")
    text = "taken provisionally, later replaced; round 1: merge (q1 1.16) taken provisionally: +0.0100"
    assert found["merge:2"] == ("taken", text)
    assert found["merge:3"] == ("taken", "exported")
    assert found["merge:1"][0] == "refused"
    assert found["expert:q2"] == ("refused", "not taken; round 1: expert q2 not taken: -0.0365 on the search half")


def test_what_was_rolled_back_says_what_the_confirmation_said(rolled_back):
    found = fates(rolled_back)
    assert found["merge:2"] == ("taken", f"taken provisionally; {NOT_CONFIRMED}")
    assert found["expert:q1"] == ("taken", f"weight 1.16 in a merge that was taken provisionally; {NOT_CONFIRMED}")
    assert rolled_back["confirmation"] == NOT_CONFIRMED


def test_of_merges_with_the_same_weights_the_best_method_was_taken(tmp_path):
    ledger = [*LEDGER]
    ledger.insert(8, merge(["q1"], [1.16], at(64), 0.81, "ties"))
    found = fates(timeline(run_of(tmp_path / "run", ledger, {}, "backbone", 2.0)))
    assert [found[f"merge:{number}"][0] for number in (1, 2, 3)] == ["refused", "refused", "taken"]


def test_trials_lie_in_their_own_action_although_times_have_seconds_only(rolled_back):
    minutes = {dot["id"]: 60 * dot["minutes"] for dot in rolled_back["dots"]}
    start = 60 * rolled_back["steps"][1]["minutes"] - 15
    assert start < minutes["expert:q1"] < start + 15, "it ended in the second in which the next action began"
    assert start + 15 < minutes["merge:1"] < minutes["merge:2"] < start + 20
    assert start + 20 < minutes["expert:q2"] < start + 36


def test_a_lever_that_was_lost_after_the_search_lies_after_it(rolled_back):
    (lost,) = (dot for dot in rolled_back["dots"] if dot["lever"] == "failure")
    assert lost["minutes"] > rolled_back["steps"][0]["minutes"] + 36 / 60


def test_the_line_covers_the_whole_run_and_falls_where_it_was_rolled_back(rolled_back):
    # 120 seconds, 36 of them in actions; of the rest 44 of 87 before the first.
    seconds = [60 * step["minutes"] for step in rolled_back["steps"]]
    before = 84 * 44 / 87
    assert seconds == pytest.approx([before * 43 / 44, before + 15, before + 20, before + 36 + (84 - before) / 43])
    assert [step["value"] for step in rolled_back["steps"]] == pytest.approx([0.7459, 0.824, 0.834, 0.7459])
    assert rolled_back["end"]["minutes"] == pytest.approx(2.0)
    assert rolled_back["end"]["value"] == pytest.approx(0.7459)
    assert rolled_back["confirmed"]["label"] == "rolled back"
    assert "rolled back" in str(staircase(rolled_back, "minutes", "minutes"))


def test_a_later_ending_falls_back_to_what_an_earlier_one_confirmed(tmp_path):
    confirmed = {"event": "decision", "lever": "confirmation", "kept": True, "text": "expert q1 confirmed"}
    ledger = [*LEDGER[:6], {**confirmed, "time": at(59)}, *LEDGER[6:]]
    search = timeline(run_of(tmp_path / "run", ledger, {"q1": 1.0}, "expert q1", 2.0))
    assert (search["steps"][-1]["value"], search["steps"][-1]["label"]) == (pytest.approx(0.824), "expert q1")


def test_a_run_that_goes_on_has_no_confirmation_yet(tmp_path):
    search = timeline(run_of(tmp_path / "run", LEDGER[:8], {}, "backbone", 1.1))
    assert search["confirmed"] is None
    assert search["dots"][-1]["id"] == "merge:1"
    assert search["end"]["minutes"] == pytest.approx(1.1)


def test_an_instruction_tried_as_its_action_ended_lies_in_it(tmp_path):
    record = run_of(tmp_path / "run", LEDGER, {}, "backbone", 2.0)
    line = {"schema": 2, "event": "trial", "trial": "i0001", "key": "0", "lever": "instruction", "text": "find it"}
    append_jsonl(record.folder / "traces.jsonl", {**line, "origin": "none", "model": "m", "mean": 0.75, "time": at(59)})
    search = timeline(read_record(record.folder))
    (tried,) = (dot for dot in search["dots"] if dot["lever"] == "instruction")
    assert tried["minutes"] < search["steps"][1]["minutes"], "the next action began in the same second"
