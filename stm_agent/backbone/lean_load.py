"""Load a folder as a :class:`~stm_agent.backbone.lean.LeanModel`, if torch and transformers alone can run it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from torch import nn

from stm_agent.backbone.lean import Dense, LeanModel, LeanSession, LeanTransformer, Normalize, Pooling
from stm_agent.backbone.lean_plan import NeedsLibraryError, Plan, Side, make_plan, pooling_of, read_settings
from stm_agent.backbone.load import loading, pack_if_same, placement
from stm_agent.backbone.network import network_of
from stm_agent.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


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
        plan = make_plan(folder)
    except NeedsLibraryError as reason:
        logger.info("%s is loaded by sentence-transformers: %s", folder, reason)
        return None
    except (KeyError, TypeError, ValueError, IndexError):
        # A file of settings that is broken; sentence-transformers says of which module.
        return None
    with loading("model", str(folder)), ThreadPoolExecutor(1) as checking:
        import_networks()
        # While one side is checked, the next one is read: transformers reads one at a time.
        models = [(model := _model(side, plan), checking.submit(_check, model, side, plan)) for side in plan.sides]
        for _, checked in models:
            checked.result()
    return tuple(model for model, _ in models)


def import_networks() -> None:
    """Import transformers' networks without scipy, which they need for losses of object detection alone.

    It takes a tenth of the time from the command of a server to its first answer.
    """
    with patch("transformers.utils.is_scipy_available", return_value=False):
        import transformers.modeling_utils  # noqa: F401


def _check(model: LeanModel, side: Side, plan: Plan) -> None:
    """Use the packed forward if it gives the same vectors; what another library runs has none."""
    if not plan.network:
        from stm_agent.backbone.checks import first_token_moves

        pack_if_same(model, str(side.modules[0][0]), first_token_moves(network_of(model)))


def _model(side: Side, plan: Plan) -> LeanModel:
    (folder, _), *rest = side.modules
    if plan.network and plan.network.endswith(".gguf"):
        return _llamacpp(folder, plan, side.identity)
    device, dtype = ("cpu", None) if plan.network else placement("auto")
    # On a GPU, the number format it was saved in, in which its published scores were measured.
    saved = "auto" if device == "cuda" else dtype
    start = _session(folder, plan.network, side.identity) if plan.network else _transformer(folder, saved)
    # As in sentence-transformers, a dense module has the number format of the network.
    number_format = next(start.parameters()).dtype
    modules: list[nn.Module] = [start, *(_MAKERS[kind](part).to(number_format) for part, kind in rest)]
    dimension = next(made.dimension for made in reversed(modules) if isinstance(made, Pooling | Dense))
    return LeanModel(modules, plan.prompts, dimension).eval().to(device)


def _transformer(folder: Path, dtype: torch.dtype | str | None) -> LeanTransformer:
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


def _llamacpp(folder: Path, plan: Plan, identity: str) -> LeanModel:
    from transformers import AutoConfig

    from stm_agent.backbone.llamacpp import LlamaCppModel

    config = AutoConfig.from_pretrained(folder)
    file = folder / str(plan.network)
    return LlamaCppModel(file, _tokenizer(folder, config), config, plan.prompts, identity).eval()


def _tokenizer(folder: Path, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    longest = read_settings(folder / "sentence_bert_config.json").get("max_seq_length")
    if longest is not None:
        return AutoTokenizer.from_pretrained(folder, model_max_length=longest)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    positions = getattr(config, "max_position_embeddings", -1)
    # XLNet writes -1: it has no table of positions.
    if positions != -1:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def _dense(folder: Path) -> Dense:
    from importlib import import_module

    from safetensors.torch import load_file

    config = read_json(folder / "config.json")
    library, _, name = config["activation_function"].rpartition(".")
    ends = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    dense = Dense({**config, **ends}, getattr(import_module(library), name)())
    dense.load_state_dict(load_file(folder / "model.safetensors"))
    return dense


_MAKERS: Mapping[str, Callable[[Path], nn.Module]] = {
    "Pooling": pooling_of,
    "Dense": _dense,
    "Normalize": lambda _folder: Normalize(),
}
