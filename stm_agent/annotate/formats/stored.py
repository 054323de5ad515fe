"""Stored data sets (``datasets`` folders) that may come from anybody."""

from __future__ import annotations

import json
from pathlib import Path

from stm_agent.errors import DataError


def check_inside(folder: Path) -> None:
    """Require that a data set names no file outside its own folder: it may come from anybody.

    Raises:
        DataError: It does, or a file that describes it is not JSON.
    """
    for path in (*folder.rglob("state.json"), *folder.rglob("dataset_dict.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            files = [*(about.get("_data_files") or ()), *(about.get("_indices_data_files") or ())]
            names = [*(str(file["filename"]) for file in files), *map(str, about.get("splits") or ())]
        except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path.name} of {folder.name} cannot be read: {error}") from error
        for name in names:
            if "\0" in name or not (path.parent / name).resolve().is_relative_to(folder.resolve()):
                raise DataError(f"{path.name} of {folder.name} names '{name}', which is outside of the data set")
