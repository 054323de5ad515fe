"""Several processes that train one expert together: ``accelerate launch`` or torchrun starts them, the first writes.

Every process runs the same command on the same rows; each takes its own batches of the common plan, so a step
sees as many batches as there are processes. What the wrapper of the model does not average is averaged here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn


AGREEMENT = 1e-4
"""Distance of a weight's sum between two processes that is only rounding."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether results are this process's to write and to tell."""
        return self.rank == 0


def processes() -> Processes:
    """Return what the launcher told this process; one alone where nothing launched it.

    Raises:
        ConfigError: FSDP is asked for, under which a LoRA adapter would be saved in pieces.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise ConfigError("FSDP is not supported: an expert's backbone must fit one device; launch without --use_fsdp")
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def one_process() -> None:
    """Refuse to be launched several times over: the loop's stages are one process's work.

    Raises:
        ConfigError: A launcher started several.
    """
    if processes().count > 1:
        raise ConfigError(
            "optimize runs in one process; train its experts on several devices by "
            "'accelerate launch -m stm_agent train', or start it without a launcher"
        )


def share_beside(loss: nn.Module, model: nn.Module) -> None:
    """Keep what a loss trains beside the model (a map into a teacher's space) the same in all processes.

    The model's own gradients are averaged by its wrapper. To be called once the processes have met.
    """
    import torch.distributed as group

    if processes().count == 1 or not group.is_initialized():
        return
    own = {id(weight) for weight in model.parameters()}
    for weight in loss.parameters():
        if weight.requires_grad and id(weight) not in own:
            group.broadcast(weight.data, 0)
            weight.register_post_accumulate_grad_hook(_average)  # type: ignore[no-untyped-call]


def _average(weight: Tensor) -> None:
    import torch.distributed as group

    if weight.grad is not None:
        # A sum and a division: gloo, the CPU's backend, has no mean.
        group.all_reduce(weight.grad)
        weight.grad /= group.get_world_size()


def check_agree(loss: nn.Module) -> None:
    """Check that all processes have trained the very same weights.

    Raises:
        CheckFailed: They have not, for one because gradients were not averaged.
    """
    import torch
    import torch.distributed as group

    if processes().count == 1 or not group.is_initialized():
        return
    sums = [weight.detach().double().sum() for weight in loss.parameters() if weight.requires_grad]
    highest = torch.stack(sums)
    lowest = highest.clone()
    group.all_reduce(highest, group.ReduceOp.MAX)
    group.all_reduce(lowest, group.ReduceOp.MIN)
    apart = float((highest - lowest).abs().max())
    if apart > AGREEMENT:
        raise CheckFailed(
            "processes-agree", apart, "the processes trained different weights; report the launch command"
        )


def part() -> None:
    """End the meeting of the processes; nothing where there was none."""
    import torch.distributed as group

    if group.is_available() and group.is_initialized():
        group.destroy_process_group()
