"""Several processes that train one expert together: ``accelerate launch`` or torchrun starts them, the first writes.

Every process runs the same command on the same rows and takes its own batches of the common plan, so a step has as many
batches as there are processes. Gradients that the wrapper of the model does not average are averaged here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn


AGREEMENT = 1e-4
"""Largest difference of a weight's sum between two processes that counts as rounding."""


GATHERING = {"infonce", "cached-infonce", "gist", "cached-gist", "distil"}
"""Losses that compare a query with other rows' passages; the others are sums over single rows."""


@dataclass(frozen=True)
class Processes:
    """Rank of this process, and number of processes."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes and reports the results."""
        return self.rank == 0


def processes() -> Processes:
    """Return this process's rank and their number, as the launcher set them; without a launcher it is alone.

    Raises:
        ConfigError: FSDP or DeepSpeed is asked for, under which a LoRA adapter would be saved in pieces.
    """
    for name, flag in (("FSDP", "use_fsdp"), ("DEEPSPEED", "use_deepspeed")):
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true":
            raise ConfigError(
                f"{name} is not supported: it cuts a backbone into pieces, and an adapter is saved, checked and merged "
                f"whole; launch without --{flag} and set train: qlora or gradient_checkpointing for a large one"
            )
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def gathers(expert: ExpertSpec, train: TrainSpec) -> bool:
    """Return whether queries of this process are compared with passages of the others too."""
    return train.gather and processes().count > 1 and expert.loss in GATHERING


def one_process() -> None:
    """Check that no launcher started several processes: the loop runs in one.

    Raises:
        ConfigError: A launcher started several.
    """
    if processes().count > 1:
        raise ConfigError(
            "optimize runs in one process; start it without a launcher and set train: processes in the domain file, "
            "which trains its experts on several devices"
        )


def share_beside(loss: nn.Module, model: nn.Module) -> None:
    """Keep what a loss trains in addition to the model (a map into a teacher's space) the same in all processes.

    The wrapper of the model averages the gradients of its own weights only. Call this once the group is initialised.
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
        # Sum and divide, since gloo, the CPU's backend, has no mean.
        group.all_reduce(weight.grad)
        weight.grad /= group.get_world_size()


def mean_over_processes(value: float) -> float:
    """Return the mean of a number over all processes; itself if this one is alone."""
    import torch
    import torch.distributed as group

    if processes().count == 1 or not group.is_initialized():
        return value
    device = "cpu" if group.get_backend() == "gloo" else "cuda"
    total = torch.tensor(value, dtype=torch.float64, device=device)
    group.all_reduce(total)
    return float(total) / group.get_world_size()


def check_agree(loss: nn.Module) -> None:
    """Check that all processes have trained the same weights.

    Raises:
        CheckFailed: The weights differ, for example because gradients were not averaged.
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
    """Leave the process group, if there is one."""
    import torch.distributed as group

    if group.is_available() and group.is_initialized():
        group.destroy_process_group()
