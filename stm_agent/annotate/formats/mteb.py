"""A task file that stands beside an exported collection: it needs mteb and nothing of ours."""

import re

TASK = '''"""NAMERetrieval: an mteb task on the collection in data/.

    import mteb
    from task import NAMERetrieval
    mteb.evaluate(mteb.get_model("sentence-transformers/all-MiniLM-L6-v2"), NAMERetrieval(), cache=None)
"""

import csv
import json
from pathlib import Path

from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

DATA = Path(__file__).parent / "data"


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").split("\\n") if line]


class NAMERetrieval(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="NAMERetrieval",
        description="Judged with stm-agent annotate",
        type="Retrieval",
        eval_splits=["SPLIT"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        dataset={"path": "NAME", "revision": "1"},
    )

    def load_data(self, *args, **kwargs):
        with (DATA / "qrels" / "SPLIT.tsv").open(encoding="utf-8") as lines:
            judged = {}
            # An id may begin with a quotation mark, which means nothing in this format.
            for query, document, grade in list(csv.reader(lines, delimiter="\\t", quoting=csv.QUOTE_NONE))[1:]:
                judged.setdefault(query, {})[document] = int(grade)
        corpus = [{"id": row["_id"], "title": row["title"], "text": row["text"]} for row in rows("corpus.jsonl")]
        queries = [{"id": row["_id"], "text": row["text"]} for row in rows("queries.jsonl") if row["_id"] in judged]
        data = {
            "corpus": Dataset.from_list(corpus),
            "queries": Dataset.from_list(queries),
            "relevant_docs": judged,
            "top_ranked": None,
        }
        self.dataset = {"default": {"SPLIT": data}}
        self.data_loaded = True
'''


def task_file(project: str, split: str) -> str:
    """Return the task of a project; its class is named by the letters and digits of the project's name."""
    name = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", project))
    if not name[:1].isalpha():
        name = f"Annotated{name}"
    return TASK.replace("NAME", name).replace("SPLIT", split)
