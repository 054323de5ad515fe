"""A GGUF decoder as safetensors, converted once."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from pathlib import Path

from filelock import FileLock

from stm_agent.assets.pull import cache_folder
from stm_agent.errors import BackboneError, first_line, raised_as
from stm_agent.files import sha256_file, storing, whole_folder

SCHEMA = 1


def converted(gguf: Path) -> Path:
    """Return a transformers folder of a GGUF decoder, float32; converted on the first call (about 30 s).

    The folder's name contains the file's hash, so every file has its own.

    Raises:
        BackboneError: transformers cannot read the file.
    """
    folder = cache_folder() / "models" / f"{gguf.stem}-{SCHEMA}-{sha256_file(gguf)[:16]}"
    if folder.is_dir():
        return folder
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with whole_folder(folder) as partial:
                _convert(gguf, partial)
    return folder


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    parent, name = str(gguf.parent), gguf.name

    def unreadable(error: BaseException) -> BackboneError:
        return BackboneError(f"cannot read {gguf}: {first_line(error)}; get the file again, or use a decoder's folder")

    # The reader raises different types for different broken parts of a file; its tqdm bar has no switch.
    with raised_as(unreadable), redirect_stderr(io.StringIO()):
        loaded = AutoModel.from_pretrained(parent, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(parent, gguf_file=name)
    # transformers refuses to save a model read from a GGUF file, so the same model is built without that mark.
    config = loaded.config
    for mark in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, mark):
            delattr(config, mark)
    plain = AutoModel.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
