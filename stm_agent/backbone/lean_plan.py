"""What a folder is made of, if torch and transformers alone can run it: read before anything large is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from stm_agent.backbone.embedded import EXPORT
from stm_agent.backbone.lean import Pooling, PoolingMode
from stm_agent.backbone.sides import DOCUMENT, QUERY
from stm_agent.files import folder_hash, read_json

TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
"""The modality of a model that reads plain text; others go through a chat template, or read images."""
ORDINARY: Mapping[str, tuple[object, ...]] = {
    "do_lower_case": (False, None),
    "transformer_task": ("feature-extraction",),
    "modality_config": (TEXT,),
    "module_output_name": ("token_embeddings",),
}
"""Settings of a text module, with the values that mean nothing is done beside tokenizing and running the network."""
LEGACY = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "lasttoken"}
"""Switches of poolings that were saved before version 5."""
SETTINGS = {"__version__", "prompts", "default_prompt_name", "similarity_fn_name", "model_type"}
"""Settings of a whole model that change no vector of a text whose prompt is given."""


Chain = list[tuple[Path, str]]
"""Folder and kind of every module from tokens to vectors."""


class NeedsLibraryError(Exception):
    """Raised for what only sentence-transformers can run; the message says what."""


class Side(NamedTuple):
    """The modules from tokens to vectors, and what identifies the session of their network."""

    modules: Chain
    identity: str


class Plan(NamedTuple):
    """The sides of a folder, the one of passages first; its prompts; the file of its network, if it is an export."""

    sides: list[Side]
    prompts: dict[str, str]
    network: str | None


def make_plan(folder: Path) -> Plan:
    """Read what a folder is made of.

    Raises:
        NeedsLibraryError: Only sentence-transformers can run all of it.
        KeyError, TypeError, ValueError, IndexError: A file of settings is broken.
    """
    if not (folder / "modules.json").is_file():
        raise NeedsLibraryError("it has no modules.json")
    settings = read_settings(folder / "config_sentence_transformers.json")
    if unknown := {name for name, value in settings.items() if value is not None} - SETTINGS:
        raise NeedsLibraryError(f"its setting {min(unknown)}")
    chains = {side: _runnable(chain) for side, chain in _chains(folder).items()}
    exported = read_settings(folder / EXPORT).get("network")
    identity = folder_hash(folder) if exported else ""
    sides = {name: Side(chain, f"{identity}-{number}") for number, (name, chain) in enumerate(chains.items())}
    ordered = [sides[name] for name in (DOCUMENT, QUERY) if name in sides]
    return Plan(ordered, settings.get("prompts") or {}, exported)


def _chains(folder: Path) -> dict[str, Chain]:
    """Return the modules of each side; a model that is the same for queries and passages has that of passages."""
    rows = sorted(read_json(folder / "modules.json"), key=lambda row: int(row["idx"]))
    chain = [(folder / row["path"], str(row["type"])) for row in rows]
    first, kind = chain[0]
    return _sides(first) if len(chain) == 1 and kind.endswith(".Router") else {DOCUMENT: chain}


def _runnable(chain: Chain) -> Chain:
    """Return a chain with the short names of its kinds, if all of it can be run."""
    modules = [_module(*row) for row in chain]
    kinds = [kind for _, kind in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or "Transformer" in kinds[1:]:
        raise NeedsLibraryError("the order of its modules")
    return modules


def _sides(folder: Path) -> dict[str, Chain]:
    """Return the modules of each side, as :func:`~stm_agent.backbone.sides.join_sides` saved them."""
    config = read_json(folder / "router_config.json")
    if set(config["structure"]) != {QUERY, DOCUMENT}:
        raise NeedsLibraryError("its routes")
    types = config["types"]
    return {route: [(folder / name, types[name]) for name in names] for route, names in config["structure"].items()}


def _module(folder: Path, kind: str) -> tuple[Path, str]:
    """Return a module's folder and the name of its kind, if it can be run."""
    library, _, name = kind.rpartition(".")
    if not library.startswith("sentence_transformers.") or name not in _CHECKS:
        raise NeedsLibraryError(f"its module {kind}")
    _CHECKS[name](folder)
    return folder, name


def _check_transformer(folder: Path) -> None:
    for name, value in read_settings(folder / "sentence_bert_config.json").items():
        if name == "max_seq_length" or value is None or value in ORDINARY.get(name, ()):
            continue
        raise NeedsLibraryError(f"{name} of its text module")
    if (folder / "adapter_config.json").is_file():
        raise NeedsLibraryError("its adapter")
    config = read_json(folder / "config.json")
    if config.get("auto_map") or config.get("is_encoder_decoder") or "text_config" in config:
        raise NeedsLibraryError(f"its network of kind {config.get('model_type')}")


def _check_pooling(folder: Path) -> None:
    pooling_of(folder)


def _check_dense(folder: Path) -> None:
    config = read_json(folder / "config.json")
    if not {*config} <= _DENSE or not str(config["activation_function"]).startswith("torch.nn.modules."):
        raise NeedsLibraryError("its dense module")
    ends = {config.get(name, "sentence_embedding") for name in ("module_input_name", "module_output_name")}
    if ends != {"sentence_embedding"} or not (folder / "model.safetensors").is_file():
        raise NeedsLibraryError("its dense module")


def _check_normalize(folder: Path) -> None:
    if not {*read_settings(folder / "config.json").values()} <= {"sentence_embedding"}:
        raise NeedsLibraryError("its normalisation")


_CHECKS = {
    "Transformer": _check_transformer,
    "Pooling": _check_pooling,
    "Dense": _check_dense,
    "Normalize": _check_normalize,
}
_DENSE = {"in_features", "out_features", "bias", "activation_function", "module_input_name", "module_output_name"}


def pooling_of(folder: Path) -> Pooling:
    """Return the pooling that a module's folder describes, whichever version saved it.

    Raises:
        NeedsLibraryError: It is another one than :class:`~stm_agent.backbone.lean.Pooling` computes.
    """
    config = read_json(folder / "config.json")
    switches = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    named = config.get("pooling_mode") or (LEGACY.get(switches[0]) if len(switches) == 1 else None)
    mode: PoolingMode | None = next((known for known in get_args(PoolingMode) if known == named), None)
    if mode is None or not config.get("include_prompt", True):
        raise NeedsLibraryError("its pooling")
    dimension = config.get("embedding_dimension") or config["word_embedding_dimension"]
    return Pooling(int(dimension), mode)


def read_settings(path: Path) -> dict[str, Any]:
    """Return a file of settings; none if it is not there."""
    return dict(read_json(path)) if path.is_file() else {}
