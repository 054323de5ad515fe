"""Stages at a URL are found whole or not at all, by one builder at a time, on a folder and on a real S3 server."""

from __future__ import annotations

import json
import logging
import shutil
import uuid

import pytest
import requests

from stm_agent.errors import ConfigError, ExecutionError, StorageError
from stm_agent.execute.artefacts import ArtefactStore, read_text, write_new
from stm_agent.execute.inline import InlineExecutor
from stm_agent.execute.leases import Leases, _owner
from stm_agent.execute.manifest import folder_fault
from stm_agent.execute.shared import SharedJobStore
from stm_agent.files import sha256_text
from stm_agent.testing.jobs import NumberJob, number_of

pytestmark = pytest.mark.filterwarnings(
    # aiobotocore leaves its sessions to the end of the process.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::DeprecationWarning",
)


@pytest.fixture(scope="module")
def s3():
    """A real S3 server on loopback, with the credentials of its clients in the environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def url(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "artefacts")
    request.getfixturevalue("s3")
    import s3fs

    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(bucket)
    return f"s3://{bucket}/runs"


def executor(url, root, **options):
    store = ArtefactStore.open(url)
    return InlineExecutor(SharedJobStore(root, artefacts=store, leases=Leases(store, **options)))


def test_a_stage_that_one_machine_built_is_fetched_by_another(url, tmp_path):
    log = tmp_path / "log"
    (built,) = executor(url, tmp_path / "a").run([NumberJob(5, log)])
    (fetched,) = executor(url, tmp_path / "b").run([NumberJob(5, log)])
    assert fetched == tmp_path / "b" / built.name
    assert number_of(fetched) == 5
    assert folder_fault(fetched) is None
    assert len(list(log.iterdir())) == 1


def test_an_upload_that_ended_in_the_middle_is_not_there(url, tmp_path, monkeypatch):
    (built,) = executor(str(tmp_path / "other"), tmp_path / "a").run([NumberJob(5)])
    store = ArtefactStore.open(url)
    system, root = store.opened()
    system.makedirs(f"{root}/stages/{built.name}/0123456789abcdef", exist_ok=True)
    system.pipe_file(f"{root}/stages/{built.name}/0123456789abcdef/manifest.json", b"{}")
    assert not store.has(built.name)
    assert not store.fetch(built.name, tmp_path / "b" / built.name)


def test_a_damaged_stage_is_built_again_and_repaired(url, tmp_path):
    log = tmp_path / "log"
    executor(url, tmp_path / "a").run([NumberJob(5, log)])
    store = ArtefactStore.open(url)
    system, root = store.opened()
    (path,) = [path for path in system.find(f"{root}/stages") if path.endswith("number.json")]
    system.pipe_file(path, b'{"number": 6}')
    again, third = executor(url, tmp_path / "b"), executor(url, tmp_path / "c")
    # The stage that is built again can have the very manifest of the damaged one: it holds the seconds it took.
    assert number_of(again.run([NumberJob(5, log)])[0]) == 5
    assert number_of(third.run([NumberJob(5, log)])[0]) == 5
    assert len(list(log.iterdir())) == 2
    assert not list((tmp_path / "b").glob(".partial*"))


def two_processes(url):
    """Return a store with a process that has a lease in it, and one that may take it over at its second look."""
    store = ArtefactStore.open(url)
    first, second = Leases(store, beat=60), Leases(store, stale=0.0, beat=60)
    assert first.take("stage")
    return store, first, second


def test_of_two_processes_that_take_over_a_lease_one_gets_it(url):
    store = ArtefactStore.open(url)
    first, second, third = (Leases(store, stale=0.0, beat=60) for _ in range(3))
    assert first.take("stage")
    assert not second.take("stage")
    assert not third.take("stage")
    judge, taken = third._is_stale, []

    def late(name, text):
        # The second takes it over after the third has found it stale, and before the third writes.
        stale = judge(name, text)
        taken.append(second.take("stage"))
        return stale

    third._is_stale = late
    assert not third.take("stage")
    assert taken == [True]


def test_a_holder_that_slept_does_not_renew_a_lease_that_it_lost(url, caplog):
    store, first, second = two_processes(url)
    assert not second.take("stage")
    assert second.take("stage")
    first._renew("stage")
    system, root = store.opened()
    assert _owner(read_text(system, f"{root}/leases/stage")) == second._own
    assert "another process took over stage" in caplog.text
    assert first._held == set()
    second._renew("stage")
    assert json.loads(read_text(system, f"{root}/leases/stage"))["beat"] > 1


def test_what_a_process_left_when_it_was_killed_while_it_took_a_lease_is_removed(url):
    store, _, second = two_processes(url)
    system, root = store.opened()
    text = read_text(system, f"{root}/leases/stage")
    write_new(system, f"{root}/leases/stage.{sha256_text(text)[:16]}", json.dumps({"owner": "gone 1 x"}))
    assert [second.take("stage") for _ in range(4)] == [False, False, False, True]


def test_a_lease_has_one_holder_until_it_is_released_or_stale(url):
    store, first, second = two_processes(url)
    # The first look only begins to watch: the holder may have renewed it a moment ago.
    assert not second.take("stage")
    assert second.take("stage")
    first.release("stage")
    assert not Leases(store).take("stage")
    second.release("stage")
    assert first.take("stage")
    first.release("stage")


def test_a_store_that_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path):
    url = tmp_path / "artefacts"
    run = executor(str(url), tmp_path / "a")
    shutil.rmtree(url)
    with pytest.raises(ExecutionError, match="has no file stm-agent-store any more; mount or restore it"):
        run.run([NumberJob(5)])
    assert not url.exists()
    assert not list((tmp_path / "a").glob("number-*"))


def test_a_key_that_is_wrong_is_one_line_before_any_work(s3):
    import s3fs

    s3fs.S3FileSystem(use_listings_cache=False).mkdir("guarded")
    require_keys(s3, after=0)
    try:
        with pytest.raises(ExecutionError, match=r"s3://guarded/runs cannot be used: .*; check the credentials"):
            ArtefactStore.open("s3://guarded/runs")
    finally:
        require_keys(s3, after="inf")


def require_keys(server, after):
    """Let the server refuse unknown keys after so many requests."""
    address, kind = f"{server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    requests.post(address, str(after), headers=kind, timeout=30).raise_for_status()


def test_a_bucket_that_does_not_exist_is_one_line(s3):
    with pytest.raises(ExecutionError, match="s3://no-such-bucket/runs cannot be used: "):
        ArtefactStore.open("s3://no-such-bucket/runs")


def test_an_unknown_protocol_is_a_wrong_flag():
    with pytest.raises(ConfigError, match="artefact store cloud://bucket cannot be opened"):
        ArtefactStore.open("cloud://bucket")


def test_a_full_disk_leaves_no_half_stage(tmp_path, monkeypatch):
    import errno

    (built,) = executor(str(tmp_path / "artefacts"), tmp_path / "a").run([NumberJob(5)])
    from fsspec.implementations.local import LocalFileSystem

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "get_file", full)
    with pytest.raises(StorageError, match="No space left on device; free some space there"):
        ArtefactStore.open(str(tmp_path / "artefacts")).fetch(built.name, tmp_path / "b" / built.name)
    assert not list((tmp_path / "b").iterdir())
