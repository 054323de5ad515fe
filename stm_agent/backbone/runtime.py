"""Networks as sessions of ONNX Runtime or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "last_hidden_state"
GROUP = 16
"""Texts that a session runs at once; more of them are no faster on a CPU, and differ more in length."""
Run = Callable[[Tensor, Tensor], Tensor]
"""``[texts, length]`` ids and mask -> ``[texts, length, hidden]`` float32."""


class Shell(nn.Module):
    """Stands where the network would be: its config, and a parameter that shows the device."""

    def __init__(self, config: PreTrainedConfig) -> None:
        """Keep the config."""
        super().__init__()
        self.config, self.dtype = config, torch.float32
        self.device_mark = nn.Parameter(torch.zeros(1), requires_grad=False)


def open_session(path: Path) -> Run:
    """Open the network's file of an export.

    Raises:
        ConfigError: The library of its format is not installed.
    """
    return _by_length(_openvino(path) if path.suffix == ".xml" else _onnx(path))


def _by_length(run: Run) -> Run:
    """Run texts of about one length together: every padded token of a batch is computed."""

    def grouped(ids: Tensor, mask: Tensor) -> Tensor:
        order = mask.sum(dim=1).argsort(descending=True)
        parts: list[tuple[Tensor, int, int, Tensor]] = []
        for rows in torch.split(order, GROUP):
            columns = mask[rows].any(dim=0).nonzero()
            # Padding is on the left or on the right; a group without a token has one column all the same.
            begin, end = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 1)
            hidden = run(ids[rows, begin:end].contiguous(), mask[rows, begin:end].contiguous())
            parts.append((rows, begin, end, hidden))
        if len(parts) == 1 and parts[0][3].shape[:2] == ids.shape:
            order, hidden = parts[0][0], parts[0][3]
            return hidden[order.argsort()]
        whole = torch.zeros((*ids.shape, parts[0][3].shape[-1]))
        for rows, begin, end, hidden in parts:
            whole[rows, begin:end] = hidden
        return whole

    return grouped


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
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        output = compiled({INPUTS[0]: ids.numpy(), INPUTS[1]: mask.numpy()})[0]
        return torch.from_numpy(output.copy())

    return run
