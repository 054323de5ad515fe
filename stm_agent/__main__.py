"""``python -m stm_agent``: the same as the console script ``stm-agent``."""

from __future__ import annotations

from stm_agent.cli.main import main

if __name__ == "__main__":
    main()
