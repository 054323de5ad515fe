"""Formats that a model can be exported to, each a function from a loaded model to files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.files import read_json, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ADAPTERS = ("adapter", "document_adapter")
WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json", *ADAPTERS)
"""What a folder with another file for its network does not need, except of dense modules behind the network."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        write: Writes the network of a loaded model, with one side, into a folder.
        network: File of the network in that folder; None: ordinary weights.
        modules: Libraries that are needed.
        extra: Extra of the package that brings them.
        products: Number format of matrix products; None: that of the weights.
        nearest: Smallest cosine of an exported vector with the original's. Another program that splits a text into
            other tokens may lose little on dev, and much on other texts.
    """

    write: Callable[[SentenceTransformer, Path], None]
    network: str | None
    modules: tuple[str, ...]
    extra: str
    products: str | None = None
    nearest: float = -1.0


def _write_onnx(model: SentenceTransformer, folder: Path) -> None:
    from stm_agent.backbone.graph import write_graph

    write_graph(model, folder / "onnx" / "model.onnx")


def _write_int8(model: SentenceTransformer, folder: Path) -> None:
    from stm_agent.backbone.graph import write_int8_graph

    write_int8_graph(model, folder / "onnx" / "model_qint8.onnx")


def _write_openvino(model: SentenceTransformer, folder: Path) -> None:
    import openvino

    from stm_agent.backbone.graph import write_graph

    plain = folder / "openvino" / "plain.onnx"
    write_graph(model, plain)
    openvino.save_model(openvino.convert_model(str(plain)), str(plain.with_name("openvino_model.xml")), False)
    plain.unlink()


def _write_gguf(model: SentenceTransformer, folder: Path) -> None:
    from stm_agent.backbone.gguf_file import write_gguf

    write_gguf(model, folder / "gguf" / "model-f16.gguf")


def _write_fp16(model: SentenceTransformer, folder: Path) -> None:
    """Halve the weights in place; the folder holds a copy of the model."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    halved = {name: value.half() if value.dtype == torch.float32 else value for name, value in tensors.items()}
    save_file(halved, path, metadata={"format": "pt"})
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "dtype": "float16"})


def _write_nothing(model: SentenceTransformer, folder: Path) -> None:
    """Leave the weights as they are; the folder holds a copy of the model."""


FORMATS: Mapping[str, Format] = {
    "onnx": Format(_write_onnx, "onnx/model.onnx", ("onnx", "onnxruntime"), "onnx"),
    "openvino": Format(_write_openvino, "openvino/openvino_model.xml", ("onnx", "openvino"), "openvino"),
    "int8": Format(_write_int8, "onnx/model_qint8.onnx", ("onnx", "onnxruntime"), "int8"),
    "fp16": Format(_write_fp16, None, (), ""),
    "bf16": Format(_write_nothing, None, (), "", products="bfloat16"),
    "gguf": Format(_write_gguf, "gguf/model-f16.gguf", ("gguf", "xllamacpp"), "", nearest=0.9999),
}


def write_format(source: Path, target: Path, name: str) -> None:
    """Write a model's folder in another format; prompts, pooling, sides and normalisation stay as they are.

    Args:
        source: A sentence-transformers folder.
        target: An empty folder.
        name: One of :data:`FORMATS`.

    Raises:
        BackboneError: The model does not fit the format.
        StorageError: The disk is full.
    """
    chosen = FORMATS[name]
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=_ignored if chosen.network else _NOT_EXPORTED)
    for folder, model in _networks(source):
        chosen.write(model, target / folder)


_NOT_EXPORTED = shutil.ignore_patterns(*ADAPTERS)


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Return what is not copied of a folder: weights of networks, but not those of a dense module."""
    config = Path(folder) / "config.json"
    if config.is_file() and "in_features" in read_json(config):
        return set()
    return shutil.ignore_patterns(*WEIGHTS)(folder, names)


def _networks(source: Path) -> list[tuple[str, SentenceTransformer]]:
    """Return each network of a folder: its path in the folder, and a model with one side around it."""
    from stm_agent.backbone.load import load_model
    from stm_agent.backbone.sides import split_sides

    model = load_model(str(source))
    sides = split_sides(model)
    if sides is None:
        path = next(row["path"] for row in read_json(source / "modules.json") if row["type"].endswith(".Transformer"))
        return [(path, model)]
    router = next(row["path"] for row in read_json(source / "modules.json") if row["type"].endswith(".Router"))
    structure = read_json(source / router / "router_config.json")["structure"]
    names = [structure[route][0] for route in ("document", "query")]
    return [(str(Path(router) / name), side) for name, side in zip(names, sides, strict=True)]
