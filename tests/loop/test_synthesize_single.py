"""``stm-agent synthesize`` writes queries, negatives and graded passages without a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.cli.synthesize_text import counts_text
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import read_json
from stm_agent.inspect.data import data_rows
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop import synthesize_single
from stm_agent.loop.options import Options
from stm_agent.loop.single import build_job
from stm_agent.loop.synthesize_single import synthesize_domain
from stm_agent.synthesize.jobs import WritingJob


def test_every_kind_is_written_into_a_folder_of_its_own(tiny_domain: DomainSpec, workspace: Path) -> None:
    options, output = Options(generator="scripted:numbered"), workspace / "written"
    runs = workspace / "runs"
    what = ("queries", "negatives", "graded")
    counts = synthesize_domain(tiny_domain, workspace, runs, output, options, limit=3, what=what)
    assert list(counts) == list(what)
    assert counts["queries"]["asked"] == 3
    assert counts["graded"]["asked"] == 9
    assert all(row["calls"] > 0 for row in counts.values())
    stages = {row["stage"] for kind in what for row in data_rows(output / kind)}
    assert stages == {"queries", "negatives", "graded"}
    one = synthesize_domain(tiny_domain, workspace, runs, workspace / "one", options, limit=3, what=("queries",))
    assert one["calls"] == 0, "nothing is paid twice"
    assert len(data_rows(workspace / "one")) == 3


def test_a_ceiling_holds_for_all_kinds_together_and_what_was_paid_for_is_written(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ScriptedProvider] = []
    named = ScriptedProvider.named

    def provider(name: str) -> ScriptedProvider:
        made.append(named(name))
        made[-1].usd = 0.01
        return made[-1]

    monkeypatch.setattr(ScriptedProvider, "named", provider)
    runs, what = workspace / "runs", ("queries", "graded")
    options = Options(generator="scripted:numbered", budget_usd=0.08)
    counts = synthesize_domain(tiny_domain, workspace, runs, workspace / "part", options, limit=4, what=what)
    assert sum(provider.calls for provider in made) == 8
    assert sum(row["usd"] for row in counts.values()) == pytest.approx(0.08)
    assert "ended_by" not in counts["queries"]
    assert "budget of 0.08 USD" in counts["graded"]["ended_by"]
    assert "ended_by" in counts_text(counts)
    assert "budget of 0.08 USD" in read_json(workspace / "part" / "graded" / "written.json")["ended_by"]
    assert [row for row in data_rows(workspace / "part" / "graded") if row["verdict"] == "accepted"]
    more = Options(generator="scripted:numbered", budget_calls=200)
    counts = synthesize_domain(tiny_domain, workspace, runs, workspace / "whole", more, limit=4, what=what)
    assert "ended_by" not in counts["graded"]
    assert counts["queries"]["calls"] == 0 < counts["graded"]["calls"]


def test_a_seed_draws_other_passages(tiny_domain: DomainSpec, workspace: Path) -> None:
    drawn = []
    for seed in (0, 1):
        options, output = Options(generator="scripted:numbered", seed=seed), workspace / f"seed-{seed}"
        synthesize_domain(tiny_domain, workspace, workspace / "runs", output, options, limit=3, what=("queries",))
        drawn.append({row["positives"][0]["id"] for row in data_rows(output)})
    assert drawn[0] != drawn[1]


def test_the_flag_about_typed_outputs_reaches_what_writes(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def build(job: WritingJob, runs: Path) -> Path:
        seen.append(job.spec.structured)
        return build_job(job, runs)

    monkeypatch.setattr(synthesize_single, "build_job", build)
    options = Options(generator="scripted:numbered", structured="never")
    synthesize_domain(
        tiny_domain, workspace, workspace / "runs", workspace / "out", options, limit=1, what=("queries",)
    )
    assert seen == ["never"]


@pytest.mark.parametrize("what", [("poems",), ()])
def test_what_cannot_be_written_is_named(tiny_domain: DomainSpec, workspace: Path, what: tuple[str, ...]) -> None:
    options = Options(generator="scripted:numbered")
    with pytest.raises(ConfigError, match="cannot be written; use queries, negatives, graded"):
        synthesize_domain(tiny_domain, workspace, workspace / "runs", workspace / "out", options, limit=1, what=what)
