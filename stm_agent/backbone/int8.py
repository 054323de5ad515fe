"""Int8 forwards for any model by name (``int8:NAME``): more texts a second on a CPU, nearly the same vectors.

The packed network is exported to ONNX once, its matrix products are quantised (weights by channel, activations
dynamically), and ONNX Runtime runs it. Pooling, prompts and everything after the tokens do not change. A product whose
input has outliers stays in float32, since one huge entry would take the whole scale (LLM.int8(), arXiv 2208.07339).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stm_agent.backbone.packed import PackedTransformer
from stm_agent.errors import BackboneError, CheckFailed, ConfigError
from stm_agent.files import content_hash, whole_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

NAMES = ("ids", "positions", "mask")
FILE = "network.onnx"
NEAR = 0.95
"""Smallest cosine of int8 vectors of the probe texts with those of the original model."""
CREST = 60.0
"""Largest entry of a product's input, in root mean squares, up to which it is quantised; SmolLM2 has 25 for most
products and 110 for two."""
LARGEST = 2**31
"""Largest size of an ONNX file, in bytes."""


class Int8Transformer(PackedTransformer):
    """A packed module whose network is an ONNX Runtime session; it encodes and cannot be trained or saved.

    Attributes:
        session: The session.
        identity: Hash of the weights and of everything else that decides its vectors.
    """

    session: Any
    identity: str

    def hidden(self, ids: Tensor, positions: Tensor, mask: Tensor | dict[str, Tensor]) -> Tensor:
        """Run the session on packed rows; return ``[rows, width, hidden]`` float32."""
        if isinstance(mask, dict):
            raise BackboneError("this model sees long texts through windows; leave int8: out")
        values = (ids.numpy(), positions.numpy(), mask.numpy())
        (output,) = self.session.run(None, dict(zip(NAMES, values, strict=True)))
        return torch.from_numpy(output)


def quantise(model: SentenceTransformer, cache: Path) -> SentenceTransformer:
    """Give a loaded model int8 forwards, in place; it is exported once into ``cache`` under its identity.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        CheckFailed: The vectors differ too much from those of the original model.
        BackboneError: The model is on a GPU, does not run packed, or is too large for one ONNX file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("int8 models need ONNX Runtime: python -m pip install 'stm-agent[int8]'") from error
    from stm_agent.backbone.checks import vectors
    from stm_agent.backbone.encoder import model_identity
    from stm_agent.backbone.network import network_of

    module = model[0]
    if model.device.type != "cpu":
        raise BackboneError("int8 is for CPUs; on a GPU leave int8: out")
    if not isinstance(module, PackedTransformer):
        raise BackboneError("this model runs on padded batches only; int8 needs packed ones, leave int8: out")
    network = network_of(model)
    if sum(weight.nbytes for weight in network.parameters()) >= LARGEST:
        raise BackboneError("this model is larger than an ONNX file of 2 GiB; leave int8: out")
    identity = content_hash([model_identity(model), "int8", onnxruntime.__version__, torch.__version__])
    folder = cache / f"int8-{identity[:16]}"
    if not folder.is_dir():
        with whole_folder(folder) as made:
            _export(network, layers_with_outliers(model), made)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # A thread that spins on a shared core costs more than it gains, as with torch.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    before = vectors(model)
    module.__class__ = Int8Transformer
    int8: Any = module
    int8.session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
    int8.identity = identity
    _check_near(before, vectors(model))
    return model


def _check_near(whole: NDArray[np.float32], small: NDArray[np.float32]) -> None:
    sizes = np.linalg.norm(whole, axis=1) * np.linalg.norm(small, axis=1)
    near = float(((whole * small).sum(axis=1) / sizes).min())
    if near < NEAR:
        raise CheckFailed("int8", near, "int8 turns this model's vectors too far; leave int8: out")


class _Hidden(nn.Module):
    """The network as a function of tensors alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        output = self.network(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden


def layers_with_outliers(model: SentenceTransformer) -> list[str]:
    """Return the linear layers whose input has entries too large for one scale, on the probe texts."""
    from stm_agent.backbone.checks import vectors
    from stm_agent.backbone.network import network_of

    crests: dict[str, float] = {}
    layers = {name: part for name, part in network_of(model).named_modules() if isinstance(part, nn.Linear)}

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            crest = float(inputs[0].abs().max() / inputs[0].square().mean().sqrt().clamp_min(1e-9))
            crests[name] = max(crests.get(name, 0.0), crest)

        return record

    hooks = [layer.register_forward_pre_hook(hook_of(name)) for name, layer in layers.items()]
    vectors(model)
    for hook in hooks:
        hook.remove()
    return [name for name, crest in crests.items() if crest > CREST]


def products(file: Path, layers: Sequence[str]) -> list[str]:
    """Return the names that the matrix products of some linear layers have in an ONNX file."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    # The exporter names a node by the path of its module, with slashes between modules.
    names = {node.name.replace("/", "."): node.name for node in graph.node if node.op_type == "MatMul"}
    return [names[f".network.{name}.MatMul"] for name in layers]


def _export(network: nn.Module, whole: Sequence[str], folder: Path) -> None:
    """Export a network and quantise all its products but those of the layers in ``whole``."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rows, width = 3, 64
    example = (torch.ones(rows, width, dtype=torch.long), torch.arange(width).repeat(rows, 1))
    mask = torch.zeros(rows, 1, width, width)
    free = {name: {0: "rows", 1: "width"} for name in (*NAMES[:2], "hidden")}
    plain = folder / "plain.onnx"
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
        # The tracer warns of values that it takes for constants; here they are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Hidden(network).eval(),
            (*example, mask),
            str(plain),
            input_names=list(NAMES),
            output_names=["hidden"],
            dynamic_axes={**free, "mask": {0: "rows", 2: "width", 3: "width"}},
            dynamo=False,
        )
    # Without 8-bit dot products (VNNI) a CPU adds pairs in 16 bits, which 7-bit weights cannot overflow.
    quantize_dynamic(
        plain,
        folder / FILE,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=products(plain, whole),
    )
    plain.unlink()
