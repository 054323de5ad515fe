"""The trade-off that a run found between its domain and general tasks, and its points as models."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from stm_agent.errors import ConfigError, RunError
from stm_agent.files import read_json, read_jsonl
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.export_job import ExportJob
from stm_agent.merge.product import merge_card
from stm_agent.merge.query_start import standing_on
from stm_agent.merge.recipe import MethodOptions
from stm_agent.merge.result import FrontPoint

if TYPE_CHECKING:
    from rich.table import Table


class Front(TypedDict):
    """The front of a merge search, as the ledger holds it.

    Attributes:
        experts: Name -> stage folder, in the order of the points' weights.
        points: Best domain score first.
        taken: Number of the exported point; None: it is none of them.
        documents: Of a front of experts of queries: stage folder -> weight of the model that encodes passages.
        documents_method: How that model is merged; missing: a sum.
        queries_stand_on: Stage folder of the merge that experts of queries stand on.
        start: The start, if it is not that of the run.
    """

    experts: dict[str, str]
    points: list[FrontPoint]
    taken: int | None
    documents: NotRequired[dict[str, float]]
    documents_method: NotRequired[dict[str, object]]
    queries_stand_on: NotRequired[str]
    start: NotRequired[dict[str, object]]


class Picked(TypedDict):
    """A point of a front that was written as a model."""

    model: str
    method: str
    exact_adapter: bool
    weights: dict[str, float]
    dev: float
    general: float
    verified: bool


def read_front(run: Path) -> Front:
    """Return the front of the newest merge, which the report shows too.

    Raises:
        RunError: The run has not merged yet.
    """
    entries = read_jsonl(run / "ledger.jsonl")
    fronts = [entry for entry in entries if entry.get("event") == "front"]
    if not fronts:
        raise RunError(f"run {run.name} has not merged its experts yet; run its optimize command again to resume it")
    newest, merges = fronts[-1], (entry["experts"] for entry in entries if entry.get("event") == "merge")
    order = expert_order(newest["experts"], newest.get("order"), merges)
    report = run / "report.json"
    taken = read_json(report).get("front_taken") if report.exists() else None
    experts = {name: newest["experts"][name] for name in order}
    front: Front = cast("Front", {**newest, "experts": experts, "taken": taken})
    return front


def expert_order(experts: Collection[str], order: list[str] | None, merges: Iterable[list[str]]) -> list[str]:
    """Return the names of a front's experts in the order of its points' weights.

    The ledger sorts the keys of its objects, so it holds the order beside them. A ledger of an earlier version has it
    only in the merges that were encoded.

    Args:
        experts: The names, in any order.
        order: The names in order, if the ledger holds them.
        merges: The names of the experts of each encoded merge, in order.
    """
    alike = [names for names in merges if {*names} == {*experts}]
    return order or (alike[-1] if alike else list(experts))


def source_of(point: FrontPoint) -> str:
    """Return where the scores of a point come from, in words."""
    return "real encodes" if point["verified"] else "surrogate"


def front_table(front: Front) -> Table:
    """Return the points as a table, numbered from 1."""
    from rich.table import Table

    columns = ("point", "", "search nDCG@10", "general nDCG@10", "by", "method", "weights")
    table = Table(*columns, box=None, pad_edge=False)
    for number, point in enumerate(front["points"], 1):
        named = zip(front["experts"], point["weights"], strict=True)
        table.add_row(
            str(number),
            "exported" if number == front["taken"] else "",
            f"{point['dev']:.4f}",
            f"{point['general']:.4f}",
            source_of(point),
            _method_of(point).summary,
            ", ".join(f"{name} {weight:.2f}" for name, weight in named if weight),
        )
    return table


def _method_of(point: FrontPoint) -> MethodOptions:
    """Return how a point is merged; fronts of earlier versions hold sums only."""
    return MethodOptions.model_validate(point.get("method", {}))


def pick(run: Path, number: int, output: Path) -> Picked:
    """Write point ``number`` of a run's front as a model with the run's instruction; return its recipe and scores.

    Raises:
        ConfigError: The point does not exist, or ``output`` exists.
        RunError: The run has not merged yet, or its stage folders were deleted.
    """
    from stm_agent.domain.spec import BackboneSpec, DomainSpec
    from stm_agent.loop.single import build_job, copy_result, fresh_output

    target = fresh_output(output)
    front = read_front(run)
    points = front["points"]
    if not 1 <= number <= len(points):
        raise ConfigError(f"run {run.name} has points 1 to {len(points)}, not {number}")
    point = points[number - 1]
    stages = run.parent / ".stages"
    adapters, beneath = (
        [stages / folder / "adapter" for folder in folders]
        for folders in (front["experts"].values(), front.get("documents", {}))
    )
    merges = [stages / front["queries_stand_on"] / "model"] if "queries_stand_on" in front else []
    if missing := [folder for folder in (*adapters, *beneath, *merges) if not folder.is_dir()]:
        raise RunError(f"{missing[0]} is missing; run the optimize command of {run.name} to build it again")
    about = read_json(run / "run.json")
    if "identity" not in about:
        raise RunError(f"run {run.name} was made by another version; run its optimize command again and pick there")
    planned = run / "plan.json"
    spec = DomainSpec.model_validate(read_json(planned)["spec"] if planned.is_file() else about["identity"]["domain"])
    start = BackboneSpec.model_validate(front["start"]) if "start" in front else spec.backbone
    backbone = start
    if stage := front.get("queries_stand_on"):
        backbone = standing_on(backbone, stages / stage)
    model = AdaptedModel(backbone, tuple(adapters), tuple(point["weights"]), _method_of(point))
    if "documents" in front:
        # The front is that of the side of queries; the passages keep the vectors of the model beneath.
        weights = tuple(front["documents"].values())
        method = MethodOptions.model_validate(front.get("documents_method", {}))
        model = AdaptedModel(start, tuple(beneath), weights, method, queries=model)
    job = _export(run, front, number, model)
    copy_result(build_job(job, run.parent) / "model", target)
    return {
        "model": str(output),
        "method": _method_of(point).summary,
        "exact_adapter": (target / "adapter").is_dir(),
        "weights": dict(zip(front["experts"], point["weights"], strict=True)),
        "dev": point["dev"],
        "general": point["general"],
        "verified": point["verified"],
    }


def _export(run: Path, front: Front, number: int, model: AdaptedModel) -> ExportJob:
    """Return the job that exports a point: of the point that the run exported, the run's own job."""
    exported = run / "model"
    saved, card = exported / "config_sentence_transformers.json", exported / "README.md"
    stored = read_json(saved)["prompts"] if saved.is_file() else model.open().model.prompts
    prompts = {name: text or "" for name, text in stored.items()}
    if number == front["taken"] and card.is_file():
        return ExportJob(model=model, prompts=prompts, card=card.read_text(encoding="utf-8"))
    command = f"stm-agent merge pick {run.name} --point {number}"
    text = merge_card(list(front["experts"]), model.merged.recipe, model.backbone.summary, command)
    return ExportJob(model=model, prompts=prompts, card=text)
