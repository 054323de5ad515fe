"""Stage folders: what killed processes leave is used again, or goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from stm_agent.stage import STALE_DAYS, StageStore, kept_folder, kept_while_building


def test_checkpoints_nobody_came_back_to_go(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    kept = {name: kept_folder(tmp_path / name) for name in ("fresh", "old", "finished", "busy")}
    for folder in kept.values():
        folder.mkdir()
    (tmp_path / "finished").mkdir()
    long_ago = time.time() - (STALE_DAYS + 1) * 86400
    for name in ("old", "busy"):
        os.utime(kept[name], (long_ago, long_ago))
    with kept_while_building(tmp_path / "busy"):
        assert store.clean() == 2
    assert [name for name, folder in kept.items() if folder.exists()] == ["fresh", "busy"]
