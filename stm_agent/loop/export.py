"""Write the product: a plain sentence-transformers folder with its instruction, its recipe and its card."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from stm_agent.domain.beir import write_beir
from stm_agent.evaluate.proof import ProofJob, model_hash, read_proof
from stm_agent.files import TEMPORARY, read_json, remove_partial, storing, whole_folder
from stm_agent.loop.context import RunContext
from stm_agent.loop.identity import named_by
from stm_agent.loop.other_starts import domain_on
from stm_agent.loop.prepare import STAGES
from stm_agent.loop.state import RatedModel
from stm_agent.merge.card import model_card, sources_of
from stm_agent.merge.export_job import ExportJob
from stm_agent.mine.teaching import COUNTS, TeachingJob
from stm_agent.synthesize.audit_job import REPORT, AuditJob
from stm_agent.synthesize.judged_teaching import JUDGED


def write_model(context: RunContext, best: RatedModel) -> Path:
    """Write ``runs/<id>/model/`` whole, in place of an older one; needs no stm-agent to load.

    Returns:
        The model in its stage folder, of which the run's is a copy.
    """
    prompts = {"query": best.instruction.query_prefix, "document": best.instruction.passage_prefix}
    domain, shortened = domain_on(context, best.model.backbone), _shortened(context, best)
    if shortened:
        domain = domain.model_copy(update={"backbone": best.model.backbone})
    card = model_card(
        name=context.run.id,
        domain=domain,
        weights={name: weight for name, weight in best.weights.items() if weight},
        method=best.model.merged.method,
        dev=best.rating.domain.ndcg_at_10,
        general=best.rating.general,
        sources=sources_of(domain, context.data.collection, writers(context)),
        command=_command(context),
        synthetic=tuple(dict.fromkeys((*context.data.collection.synthetic, *context.firewall.synthetic))),
        trained={expert.name: expert.spec for expert in context.trained if expert.spec},
        measured_on=(
            f"the {len(context.search.split.queries):,} dev queries that changes are chosen on, over "
            f"{len(context.search.documents):,} passages{shortened}"
        ),
        mapped=best.model.query_map is not None,
    )
    folder = context.build(ExportJob(model=best.model, prompts=prompts, card=card))
    remove_partial(context.run.folder)
    model = context.run.model
    fresh, old = (model.with_name(f"{TEMPORARY}{model.name}-{name}") for name in ("new", "old"))
    with whole_folder(fresh) as partial:
        shutil.copytree(folder / "model", partial, dirs_exist_ok=True)
    # The old model stays until the new one is whole.
    with storing(model):
        if model.exists():
            model.rename(old)
        fresh.rename(model)
        shutil.rmtree(old, ignore_errors=True)
    if not (context.run.folder / "dev").exists():
        # The corpus of "stm-agent search".
        write_beir(context.data.collection, context.run.folder / "dev")
    return folder / "model"


def _shortened(context: RunContext, best: RatedModel) -> str:
    """Return at which length the start was measured, if it is exported at its own; empty: at the same."""
    read = context.spec.backbone
    own = read.model_copy(update={"max_length": None})
    if read == own or best.model.backbone != own:
        return ""
    return f" with {read.max_length} tokens of each text, while this model reads as many as the start does by itself"


def writers(context: RunContext) -> dict[str, str]:
    """Return role -> name of each LLM that wrote or judged training texts of the run."""
    ledger, judge = context.run.ledger, context.spec.audit.judge
    found = {}
    if any(entry.get("written") for entry in ledger.entries("written")):
        found["generator"] = context.generator.options.model
    audits = (entry["folder"] for entry in ledger.entries("stage") if entry["name"] == AuditJob.kind)
    if judge and any(_was_judged(context.run.folder.parent / STAGES / name / REPORT) for name in audits):
        found["judge"] = judge
    taught = (entry["folder"] for entry in ledger.entries("stage") if entry["name"] == TeachingJob.kind)
    teacher = context.spec.teach.judge
    if teacher and any(_was_judged(context.run.folder.parent / STAGES / name / COUNTS) for name in taught):
        found["teacher"] = teacher
    return found


def _was_judged(counts: Path) -> bool:
    """Return whether a stage has judgements of an LLM, by its counts; where grades can decide nothing, it has none."""
    return counts.is_file() and bool(read_json(counts).get(JUDGED))


def _command(context: RunContext) -> str:
    """Return the command that makes the model again, without a path of this machine."""
    flag, named = named_by(context.run.identity, planned=context.plan is not None)
    if flag == "--collection":
        named = shlex.quote(Path(named).name)
    policy = context.run.identity.get("flags", {}).get("policy")
    by = f" --policy {policy}" if policy else ""
    decided = context.run.identity.get("flags", {}).get("minutes")
    minutes = "" if decided is None else f" --budget-minutes {decided:g}"
    return f"stm-agent optimize {flag} {named} --seed {context.seed}{by}{minutes}"


def prove_model(context: RunContext, best: RatedModel, model: Path) -> None:
    """Score an exported folder in a fresh process, on dev queries; the score must be that of the model in this one.

    Both are computed in float32, as whoever loads the folder has it; what mixed precision changed is recorded.

    Raises:
        CheckFailed: The model cannot be scored there, or has another score.
    """
    expected = context.score(best.model.in_float32, context.proved, best.instruction).ndcg_at_10
    measured = read_proof(context.build(ProofJob(model, context.proved, expected)))
    digest, is_mixed = model_hash(model), best.model.in_float32 != best.model
    context.run.ledger.record("proved", dev=expected, reloaded=measured, sha256=digest, mixed=is_mixed)
    if is_mixed:
        mixed = context.score(best.model, context.proved, best.instruction).ndcg_at_10
        context.note("proof", f"on its dev queries the model has nDCG@10 {expected:.4f} in float32, {mixed:.4f} mixed")
