"""Load a folder as a :class:`~stm_agent.backbone.lean.LeanModel`, if torch and transformers alone can run it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from torch import nn

from stm_agent.backbone.embedded import EXPORT
from stm_agent.backbone.lean import (
    Dense,
    LeanModel,
    LeanSession,
    LeanTransformer,
    Normalize,
    Pooling,
    PoolingMode,
)
from stm_agent.backbone.load import loading, pack_if_same, placement
from stm_agent.backbone.network import network_of
from stm_agent.backbone.sides import DOCUMENT, QUERY
from stm_agent.files import folder_hash, read_json

logger = logging.getLogger(__name__)
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


class _NeedsLibraryError(Exception):
    """Raised for what only sentence-transformers can run; the message says what."""


class _Side(NamedTuple):
    """Folder and kind of every module from tokens to vectors, and what identifies its session."""

    modules: list[tuple[Path, str]]
    identity: str


class _Plan(NamedTuple):
    """The sides of a folder, the one of passages first; its prompts; the file of its network, if it is an export."""

    sides: list[_Side]
    prompts: dict[str, str]
    network: str | None


def load_lean(folder: Path) -> tuple[LeanModel, ...] | None:
    """Load a folder without sentence-transformers.

    Args:
        folder: A folder in the layout of sentence-transformers, or one that ``stm-agent export`` wrote.

    Returns:
        The model; of a model with two sides the model of passages, then that of queries. None: it has something that
        only sentence-transformers can run.

    Raises:
        BackboneError: The folder cannot be loaded.
        ConfigError: The library of an export is not installed.
    """
    try:
        plan = _plan(folder)
    except _NeedsLibraryError as reason:
        logger.info("%s is loaded by sentence-transformers: %s", folder, reason)
        return None
    except (KeyError, TypeError, ValueError, IndexError):
        # A file of settings that is broken; sentence-transformers says of which module.
        return None
    with loading("model", str(folder)):
        return tuple(_model(side, plan) for side in plan.sides)


def _plan(folder: Path) -> _Plan:
    """Read what a folder is made of; nothing large is read before it is known that all of it can be run."""
    if not (folder / "modules.json").is_file():
        raise _NeedsLibraryError("it has no modules.json")
    settings = _read(folder / "config_sentence_transformers.json")
    if unknown := {name for name, value in settings.items() if value is not None} - SETTINGS:
        raise _NeedsLibraryError(f"its setting {min(unknown)}")
    rows = sorted(read_json(folder / "modules.json"), key=lambda row: int(row["idx"]))
    chain = [(folder / row["path"], str(row["type"])) for row in rows]
    sides = _sides(chain[0][0]) if len(chain) == 1 and chain[0][1].endswith(".Router") else {DOCUMENT: chain}
    exported = _read(folder / EXPORT).get("network")
    identity = folder_hash(folder) if exported else ""
    checked = {
        name: _Side([_module(*row) for row in rows], f"{identity}-{number}")
        for number, (name, rows) in enumerate(sides.items())
    }
    for side in checked.values():
        kinds = [kind for _, kind in side.modules]
        if kinds[:2] != ["Transformer", "Pooling"] or "Transformer" in kinds[1:]:
            raise _NeedsLibraryError("the order of its modules")
    ordered = [checked[name] for name in (DOCUMENT, QUERY) if name in checked]
    return _Plan(ordered, settings.get("prompts") or {}, exported)


def _sides(folder: Path) -> dict[str, list[tuple[Path, str]]]:
    """Return the modules of each side, as :func:`~stm_agent.backbone.sides.join_sides` saved them."""
    config = read_json(folder / "router_config.json")
    if set(config["structure"]) != {QUERY, DOCUMENT}:
        raise _NeedsLibraryError("its routes")
    types = config["types"]
    return {route: [(folder / name, types[name]) for name in names] for route, names in config["structure"].items()}


def _module(folder: Path, kind: str) -> tuple[Path, str]:
    """Return a module's folder and the name of its kind, if it can be run."""
    library, _, name = kind.rpartition(".")
    if not library.startswith("sentence_transformers.") or name not in _CHECKS:
        raise _NeedsLibraryError(f"its module {kind}")
    _CHECKS[name](folder)
    return folder, name


def _check_transformer(folder: Path) -> None:
    for name, value in _read(folder / "sentence_bert_config.json").items():
        if name == "max_seq_length" or value is None or value in ORDINARY.get(name, ()):
            continue
        raise _NeedsLibraryError(f"{name} of its text module")
    if (folder / "adapter_config.json").is_file():
        raise _NeedsLibraryError("its adapter")
    config = read_json(folder / "config.json")
    if config.get("auto_map") or config.get("is_encoder_decoder") or "text_config" in config:
        raise _NeedsLibraryError(f"its network of kind {config.get('model_type')}")


def _check_pooling(folder: Path) -> None:
    _pooling(folder)


def _check_dense(folder: Path) -> None:
    config = read_json(folder / "config.json")
    if not {*config} <= _DENSE or not str(config["activation_function"]).startswith("torch.nn.modules."):
        raise _NeedsLibraryError("its dense module")
    ends = {config.get(name, "sentence_embedding") for name in ("module_input_name", "module_output_name")}
    if ends != {"sentence_embedding"} or not (folder / "model.safetensors").is_file():
        raise _NeedsLibraryError("its dense module")


def _check_normalize(folder: Path) -> None:
    if not {*_read(folder / "config.json").values()} <= {"sentence_embedding"}:
        raise _NeedsLibraryError("its normalisation")


_CHECKS = {
    "Transformer": _check_transformer,
    "Pooling": _check_pooling,
    "Dense": _check_dense,
    "Normalize": _check_normalize,
}
_DENSE = {"in_features", "out_features", "bias", "activation_function", "module_input_name", "module_output_name"}


def _model(side: _Side, plan: _Plan) -> LeanModel:
    (folder, _), *rest = side.modules
    if plan.network and plan.network.endswith(".gguf"):
        return _llamacpp(folder, plan, side.identity)
    device, dtype = ("cpu", None) if plan.network else placement("auto")
    # On a GPU, the number format it was saved in, in which its published scores were measured.
    saved = "auto" if device == "cuda" else dtype
    start = _session(folder, plan.network, side.identity) if plan.network else _transformer(folder, saved)
    modules: list[nn.Module] = [start, *(_MAKERS[kind](part) for part, kind in rest)]
    dimension = next(made.dimension for made in reversed(modules) if isinstance(made, Pooling | Dense))
    model = LeanModel(modules, plan.prompts, dimension).eval().to(device)
    if not plan.network:
        from stm_agent.backbone.checks import first_token_moves

        pack_if_same(model, str(folder), first_token_moves(network_of(model)))
    return model


def _transformer(folder: Path, dtype: Any) -> LeanTransformer:  # noqa: ANN401 - a torch dtype, or "auto"
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    network = AutoModel.from_pretrained(folder, config=config, dtype=dtype)
    return LeanTransformer(network, _tokenizer(folder, config))


def _session(folder: Path, network: str, identity: str) -> LeanSession:
    from transformers import AutoConfig

    from stm_agent.backbone.runtime import Shell, open_session

    config = AutoConfig.from_pretrained(folder)
    return LeanSession(Shell(config), _tokenizer(folder, config), open_session(folder / network), identity)


def _llamacpp(folder: Path, plan: _Plan, identity: str) -> LeanModel:
    from transformers import AutoConfig

    from stm_agent.backbone.llamacpp import LlamaCppModel

    config = AutoConfig.from_pretrained(folder)
    file = folder / str(plan.network)
    return LlamaCppModel(file, _tokenizer(folder, config), config, plan.prompts, identity).eval()


def _tokenizer(folder: Path, config: Any) -> Any:  # noqa: ANN401 - transformers' tokenizers share no typed base
    from transformers import AutoTokenizer

    longest = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    if longest is not None:
        return AutoTokenizer.from_pretrained(folder, model_max_length=longest)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    positions = getattr(config, "max_position_embeddings", -1)
    # XLNet writes -1: it has no table of positions.
    if positions != -1:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def _pooling(folder: Path) -> Pooling:
    config = read_json(folder / "config.json")
    switches = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    named = config.get("pooling_mode") or (LEGACY.get(switches[0]) if len(switches) == 1 else None)
    mode: PoolingMode | None = next((known for known in get_args(PoolingMode) if known == named), None)
    if mode is None or not config.get("include_prompt", True):
        raise _NeedsLibraryError("its pooling")
    dimension = config.get("embedding_dimension") or config["word_embedding_dimension"]
    return Pooling(int(dimension), mode)


def _dense(folder: Path) -> Dense:
    from importlib import import_module

    from safetensors.torch import load_file

    config: dict[str, Any] = read_json(folder / "config.json")
    library, _, name = config["activation_function"].rpartition(".")
    ends = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    dense = Dense({**config, **ends}, getattr(import_module(library), name)())
    dense.load_state_dict(load_file(folder / "model.safetensors"))
    return dense


def _read(path: Path) -> dict[str, Any]:
    """Return a file of settings; none if it is not there."""
    return dict(read_json(path)) if path.is_file() else {}


_MAKERS: Mapping[str, Callable[[Path], nn.Module]] = {
    "Pooling": _pooling,
    "Dense": _dense,
    "Normalize": lambda _folder: Normalize(),
}
