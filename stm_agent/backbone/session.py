"""Models whose network is an ONNX Runtime or OpenVINO session: what ``stm-agent export`` writes, loaded again.

The folder has the layout that sentence-transformers' own backends read (``onnx/model.onnx``,
``openvino/openvino_model.xml``); it holds no weights beside the network's file.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from sentence_transformers.base.modules import Module, Router
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

from stm_agent.backbone.embedded import EXPORT
from stm_agent.backbone.runtime import Run, Shell, open_session
from stm_agent.errors import BackboneError
from stm_agent.files import folder_hash, read_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.transformer import TransformerTask
    from transformers import PreTrainedConfig, PreTrainedModel


class SessionTransformer(Transformer):
    """sentence-transformers' module with a session in place of the network; it encodes and cannot be trained.

    Attributes:
        run: The session.
    """

    run: Run

    @classmethod
    def of_folder(cls, folder: Path, network: str) -> Self:
        """Load tokenizer and config of a folder, and the session of its network's file."""
        module = cls.load(str(folder))
        shell: Any = Shell(module.model.config)
        module.model = shell
        module.run = open_session(folder / network)
        return module

    def _load_model(
        self,
        model_name_or_path: str,
        transformer_task: TransformerTask,
        config: PreTrainedConfig,
        *arguments: object,
        **kwargs: object,
    ) -> PreTrainedModel:
        """Return the network without weights: the parent asks it what it takes."""
        from transformers import AutoModel

        with torch.device("meta"):
            network: PreTrainedModel = AutoModel.from_config(config)
        return network

    def forward(self, features: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        """Fill ``token_embeddings`` ``[texts, longest, hidden]``."""
        features["token_embeddings"] = self.run(features["input_ids"], features["attention_mask"])
        return features


def load_exported(folder: Path) -> SentenceTransformer:
    """Load what ``stm-agent export`` wrote with a session.

    Raises:
        ConfigError: The library of its format is not installed.
        BackboneError: The folder has a module that cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer

    network = str(read_json(folder / EXPORT)["network"])
    if network.endswith(".gguf"):
        raise BackboneError(
            f"{folder} is run by llama.cpp; serve it, index with it, or evaluate the model it was made of"
        )
    rows = sorted(read_json(folder / "modules.json"), key=lambda row: int(row["idx"]))
    modules: list[nn.Module] = [_module(folder / row["path"], row["type"], network) for row in rows]
    settings = read_json(folder / "config_sentence_transformers.json")
    model = SentenceTransformer(modules=modules, device="cpu", prompts=settings.get("prompts") or {})
    model.similarity_fn_name = settings.get("similarity_fn_name") or "cosine"
    identity = folder_hash(folder)
    for number, module in enumerate(part for part in model.modules() if isinstance(part, SessionTransformer)):
        module.identity = f"{identity}-{number}"
    return model.eval()


def _module(folder: Path, kind: str, network: str) -> Module:
    name = kind.rpartition(".")[2]
    if name == "Transformer":
        transformer: Module = SessionTransformer.of_folder(folder, network)
        return transformer
    if name == "Router":
        config = read_json(folder / "router_config.json")
        parts = {part: _module(folder / part, of, network) for part, of in config["types"].items()}
        routes = {str(route): [parts[part] for part in names] for route, names in config["structure"].items()}
        return Router(routes, **config.get("parameters", {}))
    if not kind.startswith("sentence_transformers."):
        raise BackboneError(f"{folder} has a module of kind {kind}, which is not of sentence-transformers")
    library, _, wanted = kind.rpartition(".")
    made: Module = getattr(importlib.import_module(library), wanted).load(str(folder))
    return made
