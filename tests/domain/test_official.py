"""Official MTEB tasks: found by name, one split and one subset, read from a folder in the Hub's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.domain.collection import Collection
from stm_agent.domain.hub import read_mteb, read_official
from stm_agent.domain.official import OfficialTask, find_task
from stm_agent.domain.source_hash import collection_source_hash
from stm_agent.domain.spec import MtebCollection
from stm_agent.domain.suites import SUITES, find_suite
from stm_agent.errors import ConfigError, DataError
from stm_agent.testing.hub_data import official_data
from stm_agent.testing.tiny import tiny_collection


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def collection() -> Collection:
    return tiny_collection()


def test_a_task_is_read_from_a_folder_by_its_own_class(collection: Collection, tmp_path: Path) -> None:
    official_data("SciFact", tmp_path, collection, {"test": "test", "train": "train"})
    texts, split = read_official(OfficialTask(name="SciFact", data_dir=tmp_path))
    assert texts == collection.texts
    assert split == collection.splits["test"]


def test_a_folder_of_a_task_is_a_collection_with_our_splits(collection: Collection, tmp_path: Path) -> None:
    official_data("NFCorpus", tmp_path, collection, {"test": "test", "dev": "dev", "train": "train"})
    read = read_mteb(MtebCollection(name="NFCorpus", train_split="train", data_dir=tmp_path))
    assert {name: dict(split.queries) for name, split in read.splits.items()} == {
        name: dict(split.queries) for name, split in collection.splits.items()
    }


@pytest.mark.parametrize(
    ("name", "split", "subset"), [("CUREv1", "dermatology", "es"), ("PublicHealthQA", "test", "french")]
)
def test_of_a_task_with_a_loader_of_its_own_one_split_and_one_subset_are_read(
    collection: Collection, tmp_path: Path, name: str, split: str, subset: str
) -> None:
    official_data(name, tmp_path, collection, {split: "test"}, subset)
    texts, judged = read_official(OfficialTask(name=name, split=split, subset=subset, data_dir=tmp_path))
    assert sorted(judged.queries.values()) == sorted(collection.splits["test"].queries.values())
    assert set(texts.values()) <= set(collection.texts.values())
    read = read_mteb(MtebCollection(name=name, subset=subset, test_split=split, data_dir=tmp_path))
    assert read.splits["test"].queries == judged.queries


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (OfficialTask(name="Scifacts"), r"no retrieval task 'Scifacts'; the nearest names are SciFact"),
        (OfficialTask(name="Zzzzzzzzzzzz"), "see: mteb available-tasks"),
        (OfficialTask(name="STS12"), "not a retrieval task but STS"),
        (OfficialTask(name="CQADupstackRetrieval"), "is a group of tasks; name one of CQADupstackAndroidRetrieval, "),
        (OfficialTask(name="SciFact", split="dev"), "SciFact has no split 'dev'; it has test$"),
        (OfficialTask(name="SciFact", subset="en"), "SciFact has no subset 'en'; it has default$"),
        (OfficialTask(name="CUREv1", subset="en"), "has 11 splits, name one of them: all, dentistry_and_oral_health, "),
        (OfficialTask(name="CUREv1", split="all"), "has 3 subsets, name one of them: en, es, fr"),
        (OfficialTask(name="PublicHealthQA", subset="german"), "no subset 'german'; it has arabic, chinese, english"),
    ],
)
def test_nothing_is_guessed(task: OfficialTask, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        task.open()
    assert "\n" not in str(caught.value)


def test_a_split_that_the_data_set_lacks_is_refused_with_those_it_has(collection: Collection, tmp_path: Path) -> None:
    official_data("NFCorpus", tmp_path, collection, {"test": "test", "dev": "dev"})
    with pytest.raises(ConfigError, match="NFCorpus has no split 'train'; it has dev, test"):
        read_mteb(MtebCollection(name="NFCorpus", train_split="train", data_dir=tmp_path))


def test_a_missing_folder_is_answered_with_the_line_that_downloads_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        OfficialTask(name="SciFact", data_dir=tmp_path).open()
    line = (
        f"hf download mteb/scifact --repo-type dataset --revision {find_task('SciFact').metadata.dataset['revision']}"
    )
    assert f"{line} --local-dir {tmp_path}/mteb/scifact" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_data_set_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "mteb" / "scifact"
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"text"')
    with pytest.raises(DataError, match="cannot read MTEB task SciFact from") as caught:
        read_official(OfficialTask(name="SciFact", data_dir=tmp_path))
    assert "\n" not in str(caught.value)


def test_one_task_at_a_folder_leaves_the_class_at_the_hub(tmp_path: Path) -> None:
    official_data("SciFact", tmp_path, tiny_collection(), {"test": "test"})
    OfficialTask(name="SciFact", data_dir=tmp_path).open()
    assert find_task("SciFact").metadata.dataset["path"] == "mteb/scifact"
    assert find_task("SciFact").hf_subsets == ["default"]


def test_changed_files_are_another_collection(collection: Collection, tmp_path: Path) -> None:
    folder = official_data("SciFact", tmp_path, collection, {"test": "test"})
    spec, task = MtebCollection(name="SciFact", data_dir=tmp_path), OfficialTask(name="SciFact", data_dir=tmp_path)
    before = collection_source_hash(spec, tmp_path), task.content()
    (folder / ".cache").mkdir()
    (folder / ".cache" / "download").write_text("what hf leaves behind")
    assert (collection_source_hash(spec, tmp_path), task.content()) == before
    with (folder / "corpus" / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "new", "title": "", "text": "one more"}\n')
    after = collection_source_hash(spec, tmp_path), task.content()
    assert after[0] != before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("name", SUITES)
def test_every_task_of_a_suite_exists_with_its_split_and_subset(name: str) -> None:
    for row in SUITES[name].tasks:
        task = OfficialTask(name=row.name, split=row.split, subset=row.subset).open()
        assert (task.eval_splits, task.hf_subsets) == ([row.split], [row.subset])


@pytest.mark.parametrize(
    ("name", "benchmark"), [("beir", "BEIR"), ("nanobeir", "NanoBEIR"), ("mteb-medical", "MTEB(Medical, v1)")]
)
def test_a_suite_has_all_retrieval_tasks_of_its_benchmark(name: str, benchmark: str) -> None:
    import mteb

    retrieval = [task for task in mteb.get_benchmark(benchmark).tasks if task.metadata.type == "Retrieval"]
    named = {row.name for row in SUITES[name].tasks} | {f"{row.group}Retrieval" for row in SUITES[name].tasks}
    assert {task.metadata.name for task in retrieval} <= named


def test_the_papers_suite_has_its_twelve_tasks_with_an_instruction_each() -> None:
    suite = find_suite("stm-paper")
    assert len(suite.tasks) == 12
    assert all(task.instruction for task in suite.tasks)
    assert suite.passage == "Represent this passage"


def test_an_unknown_suite_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no suite is called 'stm-papers'; did you mean stm-paper"):
        find_suite("stm-papers")
    with pytest.raises(ConfigError, match="there are stm-paper, mteb-medical, beir, nanobeir"):
        find_suite("x")
