"""stm-agent: turn a decoder-only LLM or a ready encoder into a dense retriever for one domain, and prove it.

The command line is :mod:`stm_agent.cli`; the closed loop behind ``stm-agent optimize`` is
:mod:`stm_agent.loop`. Importing this package imports none of the heavy libraries.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.4.0"
