"""Checkpoints of an expert in training: trained weights, optimiser and losses; complete, or never used."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState

from stm_agent.errors import StorageError
from stm_agent.files import read_json, sha256_file, storing, sync, write_json
from stm_agent.progress import stop_asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import TrainerControl, TrainingArguments

logger = logging.getLogger(__name__)

WEIGHTS = "trained.safetensors"
MANIFEST = "manifest.json"
SCHEMA = 1


def trained(loss: Any) -> dict[str, Tensor]:  # noqa: ANN401 - the trainer types its loss too widely
    """Return the weights that training changes, those of the adapter and of the loss, by name."""
    # A model wrapped for several processes has its modules one level deeper.
    return {
        name.replace("model.module.", "model.", 1): weight
        for name, weight in loss.named_parameters()
        if weight.requires_grad
    }


class StopAtStep(TrainerCallback):
    """Ends training after a step if a stop was asked for, with a checkpoint of that very step."""

    def __init__(self, *, resumable: bool) -> None:
        """Write the checkpoint only if another process can resume from it."""
        self.resumable = resumable

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Ask the trainer to save and to stop."""
        if stop_asked():
            control.should_save = self.resumable
            control.should_training_stop = True


class ExpertTrainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer with checkpoints that hold only the trained weights and are verified when used.

    The library's own checkpoints hold the whole model, and one that a kill cut short is loaded like any other.
    """

    losses_so_far: Callable[[], list[float]] = staticmethod(list)
    """Returns the losses so far, which are stored with each checkpoint."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:  # noqa: ANN401 - Optuna's
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with storing(folder):
            super()._save_checkpoint(model, trial)
        # Each process writes the state of its random numbers.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero() and folder.is_dir():
            seal_checkpoint(folder, self.state.global_step, self.losses_so_far())

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        from safetensors.torch import save_file

        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().cpu().contiguous() for name, weight in trained(self.loss).items()}
        save_file(weights, folder / WEIGHTS)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:  # type: ignore[override]
        from safetensors.torch import load_file

        stored, current = load_file(Path(checkpoint_path) / WEIGHTS), trained(self.loss)
        if stored.keys() != current.keys():
            raise StorageError(f"{checkpoint_path} is of another expert; remove it and train again")
        for name, weight in current.items():
            weight.data.copy_(stored[name])

    def stopped_early(self, checkpoint: Path, stopper: EarlyStoppingCallback) -> bool:
        """Restore the early-stopping count of a checkpoint; return whether training had already ended by it.

        If it had, the best adapter is loaded. The parent starts the count at 0, and would continue a training that
        had ended.
        """
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        # Read from disk, this is a dict, whatever its declared type.
        callbacks: Any = self.state.stateful_callbacks
        attributes = callbacks.get("EarlyStoppingCallback", {}).get("attributes", {})
        count = int(attributes.get("early_stopping_patience_counter", 0))
        stopper.early_stopping_patience_counter = count
        if count < stopper.early_stopping_patience:
            return False
        self._load_best_model()
        return True

    def _load_best_model(self) -> None:
        # The parent logs an error and uses the last weights as if they were the best.
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


def seal_checkpoint(folder: Path, step: int, losses: list[float]) -> None:
    """Write the manifest that makes a checkpoint valid: its step, the losses so far and a hash of every file."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    for name in files:
        sync(folder / name)
    record = {"schema": SCHEMA, "step": step, "threads": torch.get_num_threads(), "losses": losses, "files": files}
    write_json(folder / MANIFEST, record)


def newest_checkpoint(folder: Path) -> tuple[Path, list[float]] | None:
    """Return the newest complete checkpoint under ``folder`` and its losses; remove broken ones with a warning."""
    for path in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        if (losses := _losses_if_whole(path)) is not None:
            return path, losses
        logger.warning("checkpoint %s is incomplete and was removed; an older one is used, if there is one", path.name)
        shutil.rmtree(path, ignore_errors=True)
    return None


def _step(path: Path) -> int:
    number = path.name.rsplit("-", 1)[-1]
    return int(number) if number.isdigit() else -1


def _losses_if_whole(path: Path) -> list[float] | None:
    try:
        manifest = read_json(path / MANIFEST)
        if manifest["schema"] != SCHEMA or manifest["files"] != {n: sha256_file(path / n) for n in manifest["files"]}:
            return None
        if manifest["threads"] != torch.get_num_threads():
            before, now = manifest["threads"], torch.get_num_threads()
            logger.warning("training continues with %d threads, not %d as before: last digits may differ", now, before)
        return list(manifest["losses"])
    except (StorageError, KeyError, TypeError):
        return None
