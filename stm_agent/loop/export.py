"""Write the product: a plain sentence-transformers folder with its instruction, its recipe and its card."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from stm_agent.domain.collection import write_beir
from stm_agent.errors import CheckFailed
from stm_agent.files import remove_partial, whole_folder
from stm_agent.loop.context import RunContext
from stm_agent.loop.state import RatedModel
from stm_agent.merge.card import model_card, sources_of
from stm_agent.merge.export_job import ExportJob

TOLERANCE = 1e-4
"""nDCG@10 by which a reloaded model may differ from the ledger: float32 in another batch order."""


def write_model(context: RunContext, best: RatedModel) -> None:
    """Write ``runs/<id>/model/`` whole, in place of an older one; needs no stm-agent to load."""
    prompts = {"query": best.instruction.query_prefix, "document": best.instruction.passage_prefix}
    card = model_card(
        name=context.run.id,
        domain=context.spec,
        weights={name: weight for name, weight in best.weights.items() if weight},
        dev=best.rating.domain.ndcg_at_10,
        general=best.rating.general,
        sources=sources_of(context.spec, context.data.collection),
        command=f"stm-agent optimize --domain {context.spec.name} --seed {context.seed}",
    )
    folder = context.build(ExportJob(model=best.model, prompts=prompts, card=card))
    remove_partial(context.run.folder)
    if context.run.model.exists():
        shutil.rmtree(context.run.model)
    with whole_folder(context.run.model) as partial:
        shutil.copytree(folder / "model", partial, dirs_exist_ok=True)


def prove_model(context: RunContext, best: RatedModel) -> None:
    """Score the exported folder on dev in a fresh process; it must give the ledger's number.

    Raises:
        CheckFailed: It cannot be scored there, or gives another number.
    """
    dev = context.run.folder / "dev"
    if not dev.exists():
        write_beir(context.data.collection, dev)
    command = [sys.executable, "-m", "stm_agent", "evaluate", str(context.run.model), "--collection", str(dev)]
    done = subprocess.run([*command, "--split", "dev", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckFailed(
            "reload", float(done.returncode), f"a fresh process cannot score the model: {done.stderr[-300:]}"
        )
    expected, measured = best.rating.domain.ndcg_at_10, float(json.loads(done.stdout)["ndcg_at_10"])
    if abs(measured - expected) > TOLERANCE:
        raise CheckFailed(
            "reload", measured, f"dev nDCG@10 from disk is not the ledger's {expected:.4f}; do not use it"
        )
    context.run.ledger.record("proved", dev=expected, reloaded=measured)
