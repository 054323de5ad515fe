"""The plan of a run, printed before anything is spent."""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.build import build_collection, build_domain_data
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.spec import BeirCollection, DomainSpec
from stm_agent.loop.estimate import disk, dollars, llm_calls, memory, model_size, passage_tokens
from stm_agent.loop.options import Options
from stm_agent.loop.planning import MINUTES, dry_plan

TOKENS = 128
"""Tokens of a passage of a corpus that is not read."""


def check_collection(spec: DomainSpec, workspace: Path) -> None:
    """Check that a run can begin on a BEIR folder; other collections are first fetched or built, which costs time.

    Raises:
        DataError: The folder is broken, or has no dev or no test split.
    """
    if isinstance(spec.collection, BeirCollection):
        require_judged(build_collection(spec.collection, workspace))


def plan(spec: DomainSpec, workspace: Path, options: Options) -> list[dict[str, str]]:
    """Return the stages of a run, in order, with a description of each, and what the run takes.

    The experts of a folder are planned as the run plans them, from its data and a few seconds of encoding with the
    first start; minutes, dollars, disk and memory are told by stage. Of a domain that lists its experts nothing is
    loaded, so only dollars are.

    Args:
        spec: The domain.
        workspace: Folder with ``programs/`` and ``prompts/``.
        options: The user's flags.

    Raises:
        DataError: The collection cannot be used.
        ConfigError: The minutes are too few to train anything.
    """
    starts = [spec.backbone, *spec.starts]
    reasons: tuple[str, ...] = ()
    needs: list[dict[str, str]] = []
    tokens = TOKENS
    if spec.planned:
        data = build_domain_data(spec.collection, workspace)
        planned = dry_plan(spec, data, minutes=options.budget_minutes or MINUTES)
        spec, reasons, tokens = planned.spec, planned.reasons, passage_tokens(data)
        size = model_size(spec.backbone, spec.train)
        line, enough = memory(data, size)
        needs = [
            {"stage": "disk", "what": disk(spec, data, size)},
            {"stage": "memory", "what": line if enough else f"{line}: too little, close other programs"},
        ]
    needs.insert(0, {"stage": "dollars", "what": dollars(spec, options, tokens)})
    steps = [{"stage": "collection", "what": f"{spec.collection.kind}, guarded by {len(spec.general)} general task(s)"}]
    steps += [{"stage": "start", "what": start.summary} for start in starts]
    steps += [{"stage": "plan", "what": reason} for reason in reasons]
    for number in range(1, options.rounds_of(spec) + 1):
        calls = sum(stage.number for stage in llm_calls(spec, TOKENS))
        steps.append({"stage": f"round {number}", "what": f"up to {calls} LLM calls by {options.generator}"})
        steps += [
            {"stage": "  train", "what": f"expert {expert.name}: {expert.steps} steps on {', '.join(expert.sources)}"}
            for expert in spec.experts
        ]
        methods = ", ".join(spec.merge.methods)
        steps.append({"stage": "  merge", "what": f"{methods}; forgetting budget {spec.merge.forgetting_budget}"})
    return [*steps, {"stage": "test", "what": "opened once, at the end"}, *needs]
