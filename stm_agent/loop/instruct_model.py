"""The instruction lever alone: any model, any judged collection, no training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import read_beir
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import ConfigError
from stm_agent.files import read_json, whole_folder, write_json
from stm_agent.instruct.search import Found, search_instruction
from stm_agent.loop.events import Observer
from stm_agent.loop.instructing import written_candidates
from stm_agent.loop.ledger import RunFolder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.llm.client import LlmClient


RESULT = "instruction.json"


@dataclass(frozen=True)
class InstructOptions:
    """What a user sets for one search.

    Attributes:
        split: Judged queries it is searched and accepted on, half and half.
        task: One line: what a query is and what should be found.
        spec: Seeds, pool, optimiser and how they are scored.
        generator: LiteLLM name of the LLM that writes; None: seeds only.
        api_base: Base URL of an OpenAI-compatible server.
        budget_usd: Hard ceiling on LLM money.
        seed: Seed of the search and of the bootstrap.
        alpha: Two-sided error level.
    """

    split: str = "dev"
    task: str = "Given a query, find the passages that answer it."
    spec: InstructSpec = field(default_factory=InstructSpec)
    generator: str | None = "embedded:smollm2-135m"
    api_base: str | None = None
    budget_usd: float | None = None
    seed: int = 0
    alpha: float = 0.05


def instruct_model(
    model: str, folder: Path, options: InstructOptions, *, workspace: Path, runs: Path, observer: Observer
) -> dict[str, Any]:
    """Search an instruction for ``model`` on a BEIR folder; the run folder keeps traces and result.

    A killed search goes on by the same call and pays no LLM call twice.

    Raises:
        ConfigError: The collection has no such split, or a file of ``prompts/`` cannot be used.
        BackboneError: The model cannot be loaded.
    """
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.identity import source_identity
    from stm_agent.backbone.load import load_model
    from stm_agent.evaluate.cache import EmbeddingCache

    collection = read_beir(folder)
    if options.split not in collection.splits:
        raise ConfigError(
            f"{collection.name} has no split '{options.split}'; it has {', '.join(sorted(collection.splits))}"
        )
    seeds, framings = written_candidates(workspace, options.spec, options.task)
    spec = options.spec.model_dump(mode="json")
    money = ("budget_usd", "api_base")
    config = {
        "kind": "instruct",
        "model": source_identity(model),
        "collection": collection.content_hash,
        "seeds": [one.texts for one in (*seeds, *framings)],
        "options": {**{name: value for name, value in asdict(options).items() if name not in money}, "spec": spec},
    }
    run = RunFolder(runs, "instruct", config)
    client = _client(options, run, runs) if options.generator else None
    try:
        if (kept := run.folder / RESULT).exists():
            return dict(read_json(kept))
        observer(
            {"kind": "stage", "name": "instruct", "text": f"scoring instructions for {model} on {collection.name}"}
        )
        encoder = TextEncoder(load_model(model))
        found = search_instruction(
            encoder=encoder,
            cache=EmbeddingCache(runs / ".cache" / "vectors"),
            collection_dev=collection.splits[options.split],
            documents=collection.texts,
            seeds=seeds,
            framings=framings,
            incumbent=Instruction.none(encoder.model.prompts),
            reflection=client,
            spec=options.spec,
            alpha=options.alpha,
            trace=run.traces,
            seed=options.seed,
            task=options.task,
        )
        result = _result(run.id, model, collection.name, options, found)
        write_json(kept, result)
        observer({"kind": "decision", "name": "instruct", "text": found.reason})
        return result
    finally:
        if client is not None:
            client.close()
        run.close()


def write_instructed(model: SentenceTransformer, result: Mapping[str, Any], folder: Path) -> None:
    """Save a model with what was found as its prompts, so that ``encode_query`` and ``encode_document`` apply it."""
    model.prompts = {**model.prompts, "query": result["query_prefix"], "document": result["passage_prefix"]}
    with whole_folder(folder) as partial:
        model.save(str(partial))


def _client(options: InstructOptions, run: RunFolder, runs: Path) -> LlmClient:
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.open import open_client

    return open_client(
        str(options.generator),
        cache=runs / ".cache" / "llm",
        ledger=run.folder / "llm.jsonl",
        budget=Budget(usd=options.budget_usd),
        api_base=options.api_base,
    )


def _result(run: str, model: str, collection: str, options: InstructOptions, found: Found) -> dict[str, Any]:
    return {
        "run": run,
        "model": model,
        "collection": collection,
        "split": options.split,
        "accepted": found.accepted,
        "instruction": found.instruction.query,
        "passage_instruction": found.instruction.passage,
        "origin": found.instruction.origin,
        "query_prefix": found.instruction.query_prefix,
        "passage_prefix": found.instruction.passage_prefix,
        "gain": asdict(found.comparison),
        "tried": found.tried,
        "finalists": [
            {"instruction": text, "sub_corpus": found.inner[text], "whole_corpus": value}
            for text, value in found.full.items()
        ],
        "corpora_agree": found.agree,
        "reason": found.reason,
    }
