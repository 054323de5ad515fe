"""What dev can show is said before anything is scored: in a check, in a dry run, and before a run encodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stm_agent.cli.main import build
from stm_agent.domain.beir import write_beir
from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import StopRequested
from stm_agent.loop import optimize as loop_optimize
from stm_agent.loop.dev_power import fewest_tried, gate_of, gate_power
from stm_agent.loop.gate import GateState
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.plan import plan
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection

NOTHING = "no gain can be confirmed, however large: dev has 1 independent query to accept gains on"


def dev(count: int, groups: int | None = None) -> Split:
    queries = {f"q{number}": f"text {number}" for number in range(count)}
    documents = {query: f"d{number % (groups or count)}" for number, query in enumerate(queries)}
    return Split("dev", queries, {query: {document: 1} for query, document in documents.items()})


@pytest.fixture
def one_query(tmp_path: Path) -> Path:
    """A folder with one dev query and none to train on."""
    tiny = tiny_collection()
    whole = tiny.splits["dev"]
    splits = {"dev": whole.only(sorted(whole.queries)[:1], "dev"), "test": tiny.splits["test"]}
    return write_beir(Collection("tiny", tiny.documents, splits, "CC0-1.0", "a test"), tmp_path / "one query")


@pytest.fixture
def domain(one_query: Path, tmp_path: Path) -> DomainSpec:
    spec = domain_of_collection(one_query)
    start = spec.backbone.model_copy(update={"model": str(pico_decoder(tmp_path / "pico")), "max_length": 32})
    return spec.model_copy(update={"backbone": start, "starts": (), "general": (), "baseline": None})


@pytest.mark.parametrize(("count", "tried"), [(1, 1), (4, 1), (5, 1), (5, 2), (7, 6), (8, 6), (19, 6)])
def test_no_gain_can_be_confirmed_exactly_where_the_largest_is_not(
    tiny_domain: DomainSpec, count: int, tried: int
) -> None:
    gate = gate_of(dev(count), tiny_domain, Options())
    worst, best = (dict(zip(gate.halves.groups, np.full(count, value), strict=True)) for value in (0.0, 1.0))
    outcome, _ = gate.confirm(best, worst, GateState(), tried=tried, last=True)
    assert gate_power(gate, tried).confirms == outcome.confirmed


def test_the_smallest_gain_is_said_where_there_is_one(tiny_domain: DomainSpec) -> None:
    large, small = (gate_of(dev(count), tiny_domain, Options()) for count in (200, 12))
    assert gate_power(large).line == (
        f"the smallest gain that dev can show is about {large.smallest_gain():.3f} nDCG@10"
    )
    assert gate_power(small).line.endswith("nDCG@10, and more for each change that is tried"), "dev was not cut"


def test_queries_that_share_a_document_are_one(tiny_domain: DomainSpec) -> None:
    power = gate_power(gate_of(dev(100, groups=3), tiny_domain, Options()))
    assert not power.confirms
    assert "dev has 3 independent queries to accept gains on (those that share a relevant document" in power.line


def test_a_test_with_too_few_draws_is_not_blamed_on_dev(tiny_domain: DomainSpec) -> None:
    loop = tiny_domain.loop.model_copy(update={"bootstrap": 5})
    power = gate_power(gate_of(dev(200), tiny_domain.model_copy(update={"loop": loop}), Options()))
    assert not power.confirms
    assert "bootstrap: 5 is too low" in power.line
    assert "annotate" not in power.line


def test_the_published_order_tries_all_written_instructions_and_other_policies_perhaps_none(
    tiny_domain: DomainSpec, workspace: Path
) -> None:
    assert fewest_tried(tiny_domain, Options(), workspace) == 6
    assert fewest_tried(tiny_domain, Options(policy="random"), workspace) == 1
    (workspace / "prompts" / "retrieval.yaml").write_text("broken: [")
    assert fewest_tried(tiny_domain, Options(), workspace) == 1, "the search of instructions reports the file"


def test_a_check_of_a_folder_and_of_a_domain_file_say_it(one_query: Path, tmp_path: Path) -> None:
    runner, file = CliRunner(), tmp_path / "my.yaml"
    assert runner.invoke(build(), ["domains", "new", str(file), "--collection", str(one_query)]).exit_code == 0
    for named in (one_query, file):
        shown = runner.invoke(build(), ["domains", "check", str(named)]).stdout.splitlines()[-1]
        assert shown.startswith("shown by dev")
        assert NOTHING in shown
        assert "8 or more are needed; add judged dev queries, or make them with stm-agent annotate" in shown


def test_a_dry_run_says_it(domain: DomainSpec, workspace: Path) -> None:
    rows = plan(domain, workspace, Options(generator="scripted:numbered"))
    (line,) = [row["what"] for row in rows if row["stage"] == "dev"]
    assert NOTHING in line


def test_a_dry_run_of_listed_experts_says_it_of_a_folder(tiny_domain: DomainSpec, workspace: Path) -> None:
    rows = plan(tiny_domain, workspace, Options(generator="scripted:numbered"), dev=dev(1))
    assert [NOTHING in row["what"] for row in rows if row["stage"] == "dev"] == [True]
    rows = plan(tiny_domain, workspace, Options(generator="scripted:numbered"))
    assert not any(row["stage"] == "dev" for row in rows), "it was not read"


def test_a_run_warns_before_it_encodes(domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []

    def stop_here(context: object) -> None:
        raise StopRequested("before anything is encoded")

    monkeypatch.setattr(loop_optimize, "settle_plan", stop_here)
    with pytest.raises(StopRequested):
        options = Options(generator="scripted:numbered")
        optimize(domain, options, workspace=workspace, runs=workspace / "runs", observer=events.append)
    (warning,) = [event["text"] for event in events if event["kind"] == "warning" and event["name"] == "gate"]
    assert NOTHING in warning
