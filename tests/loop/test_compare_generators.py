"""Generators are compared on the same passages with equal budgets, and a bad one is seen in every number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.compare_generators import CompareOptions, compare_generators
from stm_agent.loop.comparison_quality import distinct_share
from stm_agent.loop.events import silent
from stm_agent.loop.options import Options
from stm_agent.mine import calibration
from stm_agent.testing.tiny import _SIGNS

PLAIN = {clinical: plain for plain, clinical in _SIGNS.items()}


def good(messages: Messages) -> str:
    *_, (clinical, place) = re.findall(r"A finding of (.*) the (\w+)\.", messages[-1]["content"])
    # No query of dev, which would be left out.
    return f"relief {PLAIN[clinical]} {place}"


def bad(messages: Messages) -> str:
    *_, (_, place) = re.findall(r"A finding of (.*) the (\w+)\.", messages[-1]["content"])
    return "I'm sorry, but I can't help with that." if place < "h" else "something general"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ScriptedProvider]:
    providers = {"good": ScriptedProvider(good, usd=0.01), "bad": ScriptedProvider(bad, usd=0.01)}
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: providers[name]))
    return providers


def compared(spec: DomainSpec, workspace: Path, **changes: Any) -> dict[str, Any]:
    spec = spec.model_copy(update={"synthesize": spec.synthesize.model_copy(update={"attempts": 1})})
    options = CompareOptions(
        **{
            "llm": Options(seed=0),
            "generators": ("scripted:good", "scripted:bad"),
            "passages": 24,
            "kind": "query-map",
            **changes,
        }
    )
    return compare_generators(spec, options, workspace=workspace, runs=workspace / "runs", observer=silent)


def test_the_better_generator_is_better_in_every_row(tiny_domain, workspace, scripts):
    report = compared(tiny_domain, workspace)
    best, worst = report["rows"]
    assert (best["generator"], best["asked"], worst["asked"]) == ("scripted:good", 24, 24)
    assert best["accepted"]["mean"] == 1.0 > worst["accepted"]["mean"]
    assert worst["refused"]["refusal"] > 0
    assert sum(worst["refused"].values()) == 24 - worst["queries"]
    assert best["round_trip"]["mean"] > worst["round_trip"]["mean"]
    assert best["distance"]["mean"] > worst["distance"]["mean"] == pytest.approx(0, abs=1e-5)
    assert best["distinct_2"] > worst["distinct_2"]
    assert best["gain"]["low"] <= best["gain"]["delta"] <= best["gain"]["high"]
    assert best["cost"]["calls"] == worst["cost"]["calls"] == 24
    assert best["cost"]["usd"] == pytest.approx(0.24)
    calls = [provider.calls for provider in scripts.values()]
    assert compared(tiny_domain, workspace) == report
    assert [provider.calls for provider in scripts.values()] == calls, "nothing is paid twice"


def test_answers_that_were_paid_for_before_cost_a_generator_what_they_once_did(tiny_domain, workspace, scripts):
    before = compared(tiny_domain, workspace)["rows"]
    calls = [provider.calls for provider in scripts.values()]
    after = compared(tiny_domain, workspace, kind="query-side")["rows"]
    assert [provider.calls for provider in scripts.values()] == calls, "nothing is paid twice"
    for old, new in zip(before, after, strict=True):
        shared = ("usd", "calls", "tokens")
        assert [new["cost"][name] for name in shared] == pytest.approx([old["cost"][name] for name in shared])
        assert new["cost"]["seconds"] == pytest.approx(old["cost"]["seconds"], abs=0.1)
        assert (old["cost"]["paid_calls"], new["cost"]["paid_calls"]) == (24, 0)
    capped = compared(tiny_domain, workspace, calls=4)["rows"]
    assert [row["cost"]["calls"] for row in capped] == [4, 4]
    assert [row["asked"] for row in capped] == [4, 4], "a ceiling holds for stored answers too"
    assert all("4 calls is spent" in row["ended"] for row in capped)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [({"calls": 10}, "10 calls is spent"), ({"usd": 0.095}, "0.095 USD"), ({"tokens": 1}, "1 tokens is spent")],
)
def test_each_generator_stops_at_its_own_budget(tiny_domain, workspace, budget, reason):
    # A price of 0 for tokens: the script says what a call costs.
    rows = compared(tiny_domain, workspace, **budget)["rows"]
    assert all(reason in row["ended"] for row in rows)
    assert {row["cost"]["calls"] for row in rows} == {8 if "tokens" in budget else 10}
    assert {row["asked"] for row in rows} == {8 if "tokens" in budget else 10}


def test_false_negatives_are_estimated_by_known_positives_or_by_a_judge(tiny_domain, workspace, scripts, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLES", 20)
    (first, _) = compared(tiny_domain, workspace, passages=8)["rows"]
    assert first["false_negatives"]["by"] == "known positives, one a query"
    assert first["false_negatives"]["low"] <= first["false_negatives"]["share"] <= first["false_negatives"]["high"]
    monkeypatch.setattr(calibration, "FEWEST_KNOWN", 1000)
    report = compared(tiny_domain, workspace, passages=8, kind="query-side")
    assert all("known positives" in row["false_negatives"]["reason"] for row in report["rows"])
    assert all("or name a --judge" in row["false_negatives"]["reason"] for row in report["rows"])
    scripts["judge"] = ScriptedProvider(
        lambda messages: "grade 3: it fits" if "general" in messages[-1]["content"] else "0"
    )
    monkeypatch.setattr(calibration, "FEWEST_KNOWN", 30)
    best, worst = compared(tiny_domain, workspace, passages=8, judge="scripted:judge")["rows"]
    assert worst["false_negatives"]["share"] == 1.0, "a general query fits what was mined for it too"
    assert best["false_negatives"]["share"] == 0.0
    rate = best["false_negatives"]
    assert rate["low"] == 0.0 < rate["high"] < 1.0
    assert (rate["by"], worst["grade"]["mean"], best["grade"]["mean"]) == ("judge", 3.0, 0.0)
    with pytest.raises(ConfigError, match="would judge its own texts"):
        compared(tiny_domain, workspace, judge="scripted:good")


def test_one_generator_is_no_comparison(tiny_domain, workspace):
    with pytest.raises(ConfigError, match="two different generators"):
        compared(tiny_domain, workspace, generators=("scripted:good", "scripted:good"))


def test_distinct_runs_are_a_share_of_all():
    assert distinct_share(["a b c", "a b d"], 2) == 3 / 4
    assert distinct_share(["a"], 2) is None
