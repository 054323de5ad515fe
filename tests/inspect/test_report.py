"""What a person reads when a run ends: every row whole, and the truth in words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stm_agent.inspect.report import report_table, verdict


def row(value: float, low: float, high: float) -> dict:
    versus = {"delta": round(0.661 - value, 3), "low": low, "high": high, "p_value": 0.5}
    scores = {"ndcg_at_10": value, "low": value - 0.02, "high": value + 0.02, "recall_at_100": 0.97, "mrr_at_10": 0.6}
    return {**scores, "merged_minus_this": versus}


REPORT = {
    "run": "biomedical-2060a89a",
    "collection": {"source": "HPO", "licence": "free", "documents": 2000, "test_queries": 1003},
    "rows": {
        "BM25": row(0.455, 0.18, 0.235),
        "all-MiniLM-L6-v2": row(0.701, -0.06, -0.02),
        "expert clinical": row(0.663, -0.01, 0.006),
        "merged": row(0.661, 0, 0),
    },
    "best_expert_on_dev": "clinical",
    "weights": {"lay": 0.4, "clinical": 0.6, "written": 0.0},
    "instruction": "",
    "general": {"base": 0.23, "merged": 0.48},
    "guards": {"1 wordnet": {"base": 0.8, "merged": 0.79, "delta": -0.01, "low": -0.02, "high": 0.004}},
    "cost": {
        "usd": 0.0,
        "llm_calls": 67,
        "seconds": {"train": 457.5, "test": 31.4},
        "texts_per_second": {"encoding": 101.2, "training": 88.8},
        "peak_memory_gib": 4.2,
    },
    "model": "runs/biomedical-2060a89a/model",
}


def printed(width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(report_table(REPORT))
    return out.getvalue()


def test_every_row_is_whole_in_eighty_columns():
    lines = printed(80).splitlines()
    for name, entry in REPORT["rows"].items():
        line = next(line for line in lines if line.startswith(name))
        assert f"{entry['ndcg_at_10']:.3f} [" in line
        assert name == "merged" or line.rstrip().endswith("]")
    assert "…" not in printed(80)


def test_each_general_task_is_shown_with_its_interval():
    assert "general task 1 wordnet: 0.800 before, 0.790 after, -0.010 [-0.020, +0.004]" in printed(120)


def test_remarks_are_not_printed_as_warnings():
    gate = {"mode": "halves", "search_queries": 40, "accept_queries": 60, "alpha": 0.05, "smallest_gain": 0.02}
    gate |= {"looks": 1, "alpha_spent": 0.05, "considered": 3}
    rest = {"gate": gate, "failures": [], "warnings": ["train: its batch is halved"]}
    out = io.StringIO()
    for report in ({**REPORT, **rest, "notes": ["merge: the surrogate is good"]}, {**REPORT, **rest}):
        Console(file=out, width=200).print(report_table(report))
    lines = out.getvalue().splitlines()
    assert lines.count("Warning: train: its batch is halved") == 2
    assert lines.count("Note: merge: the surrogate is good") == 1, "an older report has no notes"


def lines_of(report: dict) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=200).print(report_table(report))
    return out.getvalue().splitlines()


def test_a_model_is_compared_in_words_with_the_start_as_it_comes_or_else_as_the_run_read_it():
    rows = {**REPORT["rows"], "base": row(0.64, 0.01, 0.03)}
    base = "The merged model is above base by 0.021; the paired interval excludes 0."
    assert base in lines_of({**REPORT, "rows": rows})
    assert base in lines_of({**REPORT, "rows": rows, "untouched": None}), "the minutes allowed no other row"
    lines = lines_of({**REPORT, "rows": rows, "untouched": "all-MiniLM-L6-v2"})
    assert not [line for line in lines if "above base" in line]
    assert [line for line in lines if "BELOW all-MiniLM-L6-v2" in line]
    other = {**rows, "untouched start": row(0.65, 0.005, 0.02)}
    lines = lines_of({**REPORT, "rows": other, "untouched": "untouched start"})
    assert [line for line in lines if "above untouched start" in line]


def test_two_rows_of_one_model_are_compared_with_once():
    rows = {**REPORT["rows"], "base": REPORT["rows"]["all-MiniLM-L6-v2"]}
    lines = [line for line in lines_of({**REPORT, "rows": rows}) if "BELOW" in line]
    assert len(lines) == 1


def test_race_of_the_starts_is_printed_with_what_it_can_be_compared_with():
    race = [
        {"name": "BM25", "ndcg_at_10": 0.456, "seconds_per_1000": None},
        {"name": "embedded:all-minilm-l6-v2", "ndcg_at_10": 0.712, "seconds_per_1000": 9.52},
        {"name": "/home/somebody/models/of/a/path/that/is/longer/than/a/line/of/a/terminal", "ndcg_at_10": 0.7}
        | {"seconds_per_1000": 31.0},
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(report_table({**REPORT, "race": race}))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["BM25", "0.456", "mark"] in lines
    assert ["embedded:all-minilm-l6-v2", "0.712", "9.5", "chosen"] in lines
    assert "…" not in out.getvalue()
    assert "BM25 is lower there than on the whole corpus" in " ".join(out.getvalue().split())
    assert "race of the starts" not in printed(80), "there was none"


def test_zero_weights_are_not_named():
    assert "Merge weights: lay 0.40, clinical 0.60." in printed(200)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("BM25", "above BM25 by 0.206"),
        ("all-MiniLM-L6-v2", "BELOW all-MiniLM-L6-v2 by 0.040"),
        ("expert clinical", "cannot be distinguished"),
        ("all-in-one", ""),
    ],
)
def test_a_loss_is_said_like_a_win(other, words):
    said = verdict(REPORT, other)
    assert words in said
    assert bool(said) is bool(words)
