"""The plan of a run, printed before anything is spent."""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.build import build_collection, build_domain_data
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.spec import WRITTEN, BeirCollection, DomainSpec
from stm_agent.loop.data_jobs import negatives_asked
from stm_agent.loop.planning import MINUTES, dry_plan
from stm_agent.synthesize.graded import LEVELS


def check_collection(spec: DomainSpec, workspace: Path) -> None:
    """Check that a run can begin on a BEIR folder; other collections are first fetched or built, which costs time.

    Raises:
        DataError: The folder is broken, or has no dev or no test split.
    """
    if isinstance(spec.collection, BeirCollection):
        require_judged(build_collection(spec.collection, workspace))


def plan(
    spec: DomainSpec, workspace: Path, *, rounds: int | None, generator: str, minutes: float | None
) -> list[dict[str, str]]:
    """Return the stages of a run, in order, with a description of each.

    The experts of a folder are planned as the run plans them, from its data and a few seconds of encoding with the
    first start.

    Raises:
        DataError: The collection cannot be used.
        ConfigError: The minutes are too few to train anything.
    """
    starts = [spec.backbone, *spec.starts]
    reasons: tuple[str, ...] = ()
    if spec.planned:
        planned = dry_plan(spec, build_domain_data(spec.collection, workspace), minutes=minutes or MINUTES)
        spec, reasons = planned.spec, planned.reasons
    steps = [{"stage": "collection", "what": f"{spec.collection.kind}, guarded by {len(spec.general)} general task(s)"}]
    steps += [{"stage": "start", "what": start.summary} for start in starts]
    steps += [{"stage": "plan", "what": reason} for reason in reasons]
    for number in range(1, (rounds or spec.loop.rounds) + 1):
        asks = any(expert.negatives.synthetic for expert in spec.experts)
        writes = any(WRITTEN in expert.sources for expert in spec.experts)
        negatives = spec.synthesize.pairs * negatives_asked(spec) * asks
        graded = spec.synthesize.graded * len(LEVELS) * any(expert.related for expert in spec.experts)
        calls = negatives + graded + spec.synthesize.queries * writes + spec.instruct.reflections
        steps.append({"stage": f"round {number}", "what": f"up to {calls} LLM calls by {generator}"})
        steps += [
            {"stage": "  train", "what": f"expert {expert.name}: {expert.steps} steps on {', '.join(expert.sources)}"}
            for expert in spec.experts
        ]
        methods = ", ".join(spec.merge.methods)
        steps.append({"stage": "  merge", "what": f"{methods}; forgetting budget {spec.merge.forgetting_budget}"})
    return [*steps, {"stage": "test", "what": "opened once, at the end"}]
