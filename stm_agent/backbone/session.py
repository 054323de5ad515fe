"""Models whose network is an ONNX Runtime or OpenVINO session: what ``stm-agent export`` writes, loaded again.

The folder has the layout that sentence-transformers' own backends read (``onnx/model.onnx``,
``openvino/openvino_model.xml``); it holds no weights beside the network's file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from sentence_transformers.base.modules import Module, Router
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

from stm_agent.backbone.embedded import EXPORT
from stm_agent.errors import BackboneError, ConfigError
from stm_agent.files import folder_hash, read_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "last_hidden_state"
Run = Callable[[Tensor, Tensor], Tensor]
"""``[texts, length]`` ids and mask -> ``[texts, length, hidden]`` float32."""


class _Shell(nn.Module):
    """Stands where the network would be: its config, and a parameter that shows the device."""

    def __init__(self, config: Any) -> None:  # noqa: ANN401 - a transformers config
        super().__init__()
        self.config, self.dtype = config, torch.float32
        self.device_mark = nn.Parameter(torch.zeros(1), requires_grad=False)


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
        shell: Any = _Shell(module.model.config)
        module.model = shell
        path = folder / network
        module.run = _openvino(path) if path.suffix == ".xml" else _onnx(path)
        return module

    def _load_model(
        self,
        model_name_or_path: str,
        transformer_task: Any,  # noqa: ANN401 - as the parent
        config: Any,  # noqa: ANN401 - as the parent
        *arguments: Any,  # noqa: ANN401 - as the parent
        **kwargs: Any,  # noqa: ANN401 - as the parent
    ) -> Any:  # noqa: ANN401 - as the parent
        """Return the network without weights: the parent asks it what it takes."""
        from transformers import AutoModel

        with torch.device("meta"):
            return AutoModel.from_config(config)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - as the parent
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


def _onnx(path: Path) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"{path} needs ONNX Runtime: python -m pip install 'stm-agent[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # A thread that spins on a shared core costs more than it gains, as with torch.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        (output,) = session.run(None, {INPUTS[0]: ids.numpy(), INPUTS[1]: mask.numpy()})
        return torch.from_numpy(output)

    return run


def _openvino(path: Path) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(f"{path} needs OpenVINO: python -m pip install 'stm-agent[openvino]'") from error
    hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", hints)

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        output = compiled({INPUTS[0]: ids.numpy(), INPUTS[1]: mask.numpy()})[0]
        return torch.from_numpy(output.copy())

    return run
