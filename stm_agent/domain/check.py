"""Build all data of a domain and describe it."""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.build import build_collection
from stm_agent.domain.data import DomainData
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.spec import WRITTEN, DomainSpec
from stm_agent.domain.unlabelled import pairs_of_source
from stm_agent.errors import DataError
from stm_agent.workspace import program_path, prompt_path


def check_domain(spec: DomainSpec, data: DomainData, workspace: Path) -> dict[str, str | int]:
    """Check the domain's data, build its general tasks and find its workspace files.

    Args:
        spec: The domain.
        data: What ``build_domain_data`` returns for its collection.
        workspace: Folder with ``programs/`` and ``prompts/``.

    Returns:
        Facts by name: sizes of corpus, splits, sources and guards, licence and source.

    Raises:
        DataError: A collection is broken, lacks dev or test, or gives an expert nothing to train on.
        ConfigError: A program or prompt file is missing.
        AssetError: An embedded asset cannot be fetched.
    """
    collection = data.collection
    require_judged(collection)
    for expert in spec.experts:
        if not any(source == WRITTEN or pairs_of_source(data, source) for source in expert.sources):
            raise DataError(
                f"expert {expert.name} has no training pairs: {collection.name} has no train split; "
                f"add qrels/train.tsv or give it source '{WRITTEN}'"
            )
    facts: dict[str, str | int] = {
        "collection": collection.name,
        "licence": collection.licence,
        "source": collection.source,
        "documents": len(collection.documents),
        "passages to mine from": len(data.pool),
        **{f"{name} queries": len(split.queries) for name, split in sorted(collection.splits.items())},
        **{f"pairs of source {name}": len(pairs) for name, pairs in data.sources.items()},
        "program": str(program_path(workspace, spec.synthesize.program)),
        "instruction seeds": str(prompt_path(workspace, spec.instruct.seeds)),
    }
    for guard in spec.general:
        built = build_collection(guard, workspace)
        queries = len(built.splits["dev"].queries)
        facts[f"general task {built.name}"] = f"{len(built.documents)} documents, {queries} queries"
    return facts
