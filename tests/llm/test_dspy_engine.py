"""What DSPy asks goes through the client without remarks that are nobody's to mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# A process of its own: LiteLLM builds its answer types once, when they are first used.
ASK = """
import sys, warnings
from pathlib import Path

from stm_agent.llm.dspy_engine import dspy_context
from stm_agent.llm.scripted import scripted

with warnings.catch_warnings():
    import dspy, litellm
warnings.simplefilter("error")
with dspy_context(scripted(["four"], Path(sys.argv[1]))):
    print(dspy.Predict("question -> answer")(question="two and two?").answer)
"""


def test_an_answer_is_read_in_silence_where_the_filters_of_its_libraries_are_gone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "four\n"), done.stderr
