"""The end of a run for others: the final model's test results as mteb's own cache of results."""

from __future__ import annotations

import math
import re
from pathlib import Path

from stm_agent.domain.collection import Collection
from stm_agent.domain.measures import language_codes
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.handed_in import HandedIn, hand_in
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.evaluate.tasks import mteb_task
from stm_agent.files import folder_hash, write_atomic
from stm_agent.loop.context import RunContext
from stm_agent.loop.handed_card import handed_card
from stm_agent.loop.report_rows import Report
from stm_agent.loop.state import RatedModel

MTEB = "mteb"
"""Folder of a run with the results."""
TOLERANCE = 1e-3
"""mteb rounds, and breaks ties in another way; a larger difference of nDCG@10 is a fault."""


def write_results(context: RunContext, best: RatedModel, test: ScoredTask, scores: Scores) -> None:
    """Write ``runs/<id>/mteb/``: the model on test, scored by ``mteb.evaluate``; a failure costs this folder only."""
    with context.attempt("mteb results"), context.clock.working():
        collection = context.data.collection
        opened = Collection(
            collection.name, collection.documents, {"test": test.split}, collection.licence, collection.source
        )
        encoder = best.model.open()
        found = hand_in(
            _described(context, best),
            encoder,
            EmbeddingCache(context.cache),
            mteb_task(opened, "test"),
            (best.instruction.query_prefix, best.instruction.passage_prefix),
            context.run.folder / MTEB,
        )
        context.run.ledger.record("mteb", **found)
        if abs(found["ndcg_at_10"] - scores.ndcg_at_10) > TOLERANCE:
            context.warn("mteb", f"mteb scores {found['ndcg_at_10']:.4f} nDCG@10, the run {scores.ndcg_at_10:.4f}")


def write_card(context: RunContext, report: Report) -> None:
    """Write the card to hand in beside the results: that of the model with the rows of test, prompts and limits."""
    card = context.run.model / "README.md"
    if card.is_file():
        write_atomic(context.run.folder / MTEB / card.name, handed_card(card.read_text(encoding="utf-8"), report))


def _described(context: RunContext, best: RatedModel) -> HandedIn:
    network = best.model.open().model
    return HandedIn(
        name=f"stm-agent/{context.run.id}",
        revision=folder_hash(context.run.model)[:40],
        adapted_from=hub_id(best.model.backbone.model),
        parameters=_parameters(context.run.model),
        dimension=int(network.get_embedding_dimension() or 0),
        max_tokens=int(network.max_seq_length or 0),
        instructed=any(best.instruction.texts),
        languages=language_codes([*context.documents.values()]),
    )


def hub_id(model: str) -> str | None:
    """Return the id that a start has on the Hub; None: it is a folder, a file or an embedded model."""
    is_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) and not model.endswith(".gguf")
    return model if is_id and not Path(model).exists() else None


def _parameters(model: Path) -> int:
    """Return the number of parameters of an exported folder, both sides included; the adapters are parts of them."""
    from safetensors import safe_open

    count = 0
    for path in model.rglob("*.safetensors"):
        if not path.name.startswith("adapter_"):
            with safe_open(path, framework="numpy") as weights:
                count += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return count
