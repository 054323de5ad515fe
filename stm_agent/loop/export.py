"""Write the product: a plain sentence-transformers folder with its instruction, its recipe and its card."""

from __future__ import annotations

import shutil

from stm_agent.backbone.instruction import Instruction
from stm_agent.files import remove_partial
from stm_agent.loop.context import RunContext
from stm_agent.loop.merging import Merged
from stm_agent.merge.card import model_card, sources_of
from stm_agent.merge.delta import save_delta
from stm_agent.merge.export import export_merged
from stm_agent.merge.product import write_recipe
from stm_agent.merge.recipe import Recipe


def write_model(context: RunContext, merged: Merged | None, instruction: Instruction) -> None:
    """Write ``runs/<id>/model/`` whole, or leave what is there; needs no stm-agent to load."""
    from stm_agent.files import whole_folder

    remove_partial(context.run.folder)
    if context.run.model.exists():
        # A finished export was already proved or is proved next; a broken one never has this name.
        shutil.rmtree(context.run.model)
    prompts = {"query": instruction.query_prefix, "document": instruction.passage_prefix}
    card = model_card(
        name=context.run.id,
        domain=context.spec,
        weights=merged.weights if merged else {},
        dev=merged.rating.domain.ndcg_at_10 if merged else None,
        general=merged.rating.general if merged else None,
        sources=sources_of(context.spec, context.data.collection),
        command=f"stm-agent optimize --domain {context.spec.name} --seed {context.seed}",
    )
    with whole_folder(context.run.model) as partial:
        export_merged(context.backbone(), merged.delta if merged else None, partial, prompts=prompts, card=card)
        if merged:
            recipe = Recipe(method="task-arithmetic", weights=tuple(merged.weights.values()))
            write_recipe(partial, recipe, list(merged.adapters.values()), context.spec.backbone)
            save_delta(merged.delta, partial / "adapter", base=context.spec.backbone.model)
