"""The whole loop on a pico decoder: it ends, it resumes after a kill, and its model is what was scored."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mergekit.config import MergeConfiguration

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError, FirewallError
from stm_agent.files import read_json, read_jsonl, write_json
from stm_agent.inspect.front import pick, read_front
from stm_agent.loop.events import Event
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.merge.delta import load_delta
from stm_agent.traces import read_traces

GENERATOR = "scripted:numbered"


def run(spec: DomainSpec, workspace: Path, observer: Any = lambda event: None, **flags: Any) -> dict[str, Any]:
    options = Options(generator=GENERATOR, **flags)
    return optimize(spec, options, workspace=workspace, runs=workspace / "runs", observer=observer)


@pytest.mark.timeout(120)
def test_loop_ends_with_a_proved_model_and_a_report(tiny_domain: DomainSpec, workspace: Path) -> None:
    merging = tiny_domain.merge.model_copy(update={"instructions": True, "search": "cma", "candidates": 60})
    report = run(tiny_domain.model_copy(update={"merge": merging}), workspace, controls=True)
    assert {"BM25", "base", "expert plain", "expert hard", "all-in-one", "merged"} <= set(report["rows"])
    assert report["rows"]["merged"]["ndcg_at_10"] > report["rows"]["base"]["ndcg_at_10"]
    folder = workspace / "runs" / report["run"]
    assert all(sorted(point) == ["dev", "general", "method", "verified", "weights"] for point in report["front"])
    (guard,) = report["guards"].values()
    assert guard["low"] <= guard["delta"] <= guard["high"]
    assert guard["delta"] == pytest.approx(guard["merged"] - guard["base"])
    assert report["front"], "what could be traded between the domain and general tasks is in the report"
    assert [note for note in report["notes"] if note.startswith("merge: the surrogate orders")]
    assert not [warning for warning in report["warnings"] if warning.startswith("merge: the surrogate orders")]
    recipe = read_json(folder / "model" / "recipe.json")
    assert [weight for weight in recipe["weights"] if weight] == list(report["weights"].values())
    assert load_delta(folder / "model" / "adapter").shapes, "the merge is one adapter too"
    MergeConfiguration.model_validate(yaml.safe_load((folder / "model" / "mergekit.yaml").read_text()))
    events = {line["event"]: line for line in _ledger(folder)}
    searched = [line for line in _ledger(folder) if line["event"] == "decision" and line["lever"] == "instruction"]
    assert len(searched) == 2, "once before training, once for the merge"
    (program,) = [trace for trace in read_traces(folder / "traces.jsonl") if trace["lever"] == "program"]
    assert "write" in program["text"].lower()
    assert next(message["role"] for message in program["messages"]) == "system"
    assert program["reason"].startswith("expert hard, FT+SHN"), "the probe's verdict on what it wrote"
    assert abs(events["proved"]["dev"] - events["proved"]["reloaded"]) < 1e-4

    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / "model"), device="cpu")
    assert np.isfinite(model.encode_query(["does it load alone?"])).all()
    _another_point_is_a_model_too(folder, model)
    _mteb_takes_the_model_and_its_results(folder, model, report)


def _mteb_takes_the_model_and_its_results(folder: Path, model: Any, report: dict[str, Any]) -> None:
    import mteb
    from mteb.models import SentenceTransformerEncoderWrapper

    (entry,) = [line for line in _ledger(folder) if line["event"] == "mteb"]
    assert entry["ndcg_at_10"] == pytest.approx(report["rows"]["merged"]["ndcg_at_10"], abs=1e-3)
    (result,) = (folder / "mteb").rglob("TinyRetrieval.json")
    assert read_json(result.parent / "model_meta.json")["revision"] == result.parent.name
    card = (folder / "mteb" / "README.md").read_text()
    assert "| **this model** | " in card
    search, accept = (f"{report['gate'][half]} dev queries" for half in ("search_queries", "accept_queries"))
    assert f"- Chosen on {search} of one collection, and confirmed on {accept} beside them." in card
    assert f"- generator {GENERATOR} (licence: see its own card, and its provider's terms for what it writes)" in card
    # The same as "mteb mock-run" on the exported folder: mock tasks of every kind, without data.
    with warnings.catch_warnings():
        # mteb uses what it and its libraries deprecate.
        warnings.simplefilter("ignore")
        results = mteb.mock_run(SentenceTransformerEncoderWrapper(model)).task_results
    kinds = {name: type(result).__name__ for name, result in results.items() if result is not None}
    assert kinds["MockRetrievalTask"] == "TaskResult"
    assert set(kinds.values()) == {"TaskResult"}


def _another_point_is_a_model_too(folder: Path, model: Any) -> None:
    from sentence_transformers import SentenceTransformer

    points = read_front(folder)["points"]
    assert points == sorted(points, key=lambda point: -point["dev"])
    chosen = read_json(folder / "report.json")["weights"]
    at = next(n for n, point in enumerate(points, 1) if point["weights"] != list(chosen.values()))
    done = pick(folder, at, folder.parent / "picked")
    assert (done["dev"], list(done["weights"].values())) == (points[at - 1]["dev"], points[at - 1]["weights"])
    other = SentenceTransformer(str(folder.parent / "picked"), device="cpu")
    assert other.prompts == model.prompts
    assert not np.allclose(other.encode_query(["a question"]), model.encode_query(["a question"]))
    card = (folder.parent / "picked" / "README.md").read_text()
    assert f"merge pick {folder.name} --point {at}" in card
    assert all(f"| {name} |" in card for name in done["weights"])
    # If the run exported this point, picking it is the stage of that export.
    stages = sorted((folder.parent / ".stages").glob("export-*"))
    write_json(folder / "report.json", {**read_json(folder / "report.json"), "front_taken": at})
    shutil.rmtree(folder / "model")
    shutil.copytree(folder.parent / "picked", folder / "model")
    pick(folder, at, folder.parent / "again")
    assert sorted((folder.parent / ".stages").glob("export-*")) == stages
    with pytest.raises(ConfigError, match=f"points 1 to {len(points)}"):
        pick(folder, len(points) + 1, folder.parent / "none")


class Killed(BaseException):
    """As a kill: nothing in the engine may catch it."""


STAGES = ("synthesize", "train", "merge", "test")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_killed_in_every_stage_the_same_command_ends_with_the_same_numbers(
    tiny_domain: DomainSpec, workspace: Path
) -> None:
    whole = run(tiny_domain, workspace)
    shutil.rmtree(workspace / "runs")

    for stage in STAGES:

        def killer(event: Event, stage: str = stage) -> None:
            if event["kind"] == "stage" and event["name"] == stage:
                raise Killed

        with pytest.raises(Killed):
            run(tiny_domain, workspace, killer)
    resumed = run(tiny_domain, workspace)
    spent = [line["seconds"] for line in read_jsonl(workspace / "runs" / resumed["run"] / "seconds.jsonl")]
    assert sum(resumed["cost"]["seconds"].values()) == pytest.approx(sum(spent), abs=1.0)
    assert len(spent) > len(resumed["cost"]["seconds"]), "every process left its times"
    assert resumed["rows"] == whole["rows"]
    assert resumed["weights"] == whole["weights"]


@pytest.mark.usefixtures("proof_in_this_process")
def test_a_finished_run_prints_its_report_and_opens_test_for_no_other_model(
    tiny_domain: DomainSpec, workspace: Path
) -> None:
    from stm_agent.domain.beir import read_beir
    from stm_agent.domain.firewall import Firewall

    first = run(tiny_domain, workspace)
    seen: list[str] = []
    again = run(tiny_domain, workspace, lambda event: seen.append(event["name"]))
    assert again == first
    assert seen == ["run"]
    folder = workspace / "runs" / first["run"]
    collection = read_beir(tiny_domain.collection.path)  # type: ignore[union-attr]
    with pytest.raises(FirewallError):
        Firewall(collection, folder / "firewall.jsonl").open_test("another model")


def _ledger(folder: Path) -> list[dict[str, Any]]:
    assert read_json(folder / "run.json")["schema"] == 2
    return read_jsonl(folder / "ledger.jsonl")
