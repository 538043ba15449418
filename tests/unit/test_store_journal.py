"""The journal by example: what counts when, who may write, and what a resumed attempt finds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from servers.training import STAGE, Training, check_history, check_nothing_else_is_there, step_table

from limr.errors import LimrError
from limr.stage import Ledger
from limr.store import digest, folders
from limr.store.base import StoreError
from limr.store.journal import Fenced, Journal
from limr.store.local import LocalStore
from limr.store.manifest import read_manifest


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def _train(store: LocalStore, attempt: int, steps: int, every: int = 2) -> Training:
    training = Training(store, attempt)
    for _ in range(steps):
        training.step()
        if len(training.weights) % every == 0:
            training.commit()
    return training


def test_a_whole_stage(store: LocalStore) -> None:
    training = Training(store, 1)
    assert check_history(store) == []
    for step in range(1, 6):
        training.step(texts=step == 3)
        if step in (2, 4):
            training.commit()
            assert len(check_history(store)) == step
    training.finish()
    manifest = read_manifest(store, STAGE)
    assert check_history(store) == [[step, 1] for step in range(1, 6)]
    assert manifest.finished
    assert [record.step for record in manifest.checkpoints] == [2, 4]
    assert manifest.steps[2].texts is not None
    assert manifest.steps[2].metrics == {"reward_mean": 1.0, "loss": 0.333333}
    assert [record.rows for record in manifest.steps] == [6] * 5
    check_nothing_else_is_there(store)
    data = store.get("probe/manifest.json")
    assert training.journal.output.uri == f"{store.uri}/probe/manifest.json"
    assert training.journal.output.digest == digest.of_bytes(data)


def test_steps_count_only_with_the_checkpoint_after_them(store: LocalStore) -> None:
    training = _train(store, 1, steps=3)
    training.step()
    assert check_history(store) == [[1, 1], [2, 1]]
    training.commit()
    assert len(check_history(store)) == 4


def test_a_commit_may_come_while_later_steps_are_written(store: LocalStore, tmp_path: Path) -> None:
    journal = Journal.open(store, STAGE, 1)
    for step in (1, 2, 3):
        journal.add_step(step, 1, step_table(step, 1), {})
    journal.commit(2, Ledger(rollouts=12))
    assert check_history(store) == [[1, 1], [2, 1]]
    with pytest.raises(ValueError, match="step 5 cannot be added; the next is 4"):
        journal.add_step(5, 1, step_table(5, 1), {})
    with pytest.raises(ValueError, match="step 4 cannot be committed"):
        journal.commit(4, Ledger())
    journal.commit(3, Ledger(rollouts=18))
    assert len(check_history(store)) == 3


def test_a_checkpoint_counts_when_all_its_files_are_there(store: LocalStore) -> None:
    training = _train(store, 1, steps=1)
    training.begin_commit()
    for _ in range(2):
        training.step()
    assert training.journal.checkpoint_step == 1
    training.journal.poll()
    assert check_history(store) == [], "one file of the checkpoint is still on its way"
    training.journal.poll()
    assert check_history(store) == [[1, 1]], "the steps after it wait for the next checkpoint"
    training.begin_commit()
    training.step()
    training.begin_commit()  # one is under way at a time: that of step 3 is ended first
    assert len(check_history(store)) == 3
    training.finish()
    manifest = read_manifest(store, STAGE)
    assert [record.step for record in manifest.checkpoints] == [3, 4]
    assert [record.ledger.rollouts for record in manifest.checkpoints] == [18, 24]
    assert len(check_history(store)) == 4
    check_nothing_else_is_there(store)


def test_what_an_upload_failed_with_is_raised_and_nothing_counts(store: LocalStore, tmp_path: Path) -> None:
    training = _train(store, 1, steps=1)
    training.begin_commit()
    (tmp_path / "store" / "probe" / "checkpoints").write_bytes(b"in the way")
    with pytest.raises(StoreError, match="a part of this path is a file"):
        training.journal.poll()
    assert check_history(store) == []


def test_a_checkpoint_on_its_way_is_given_up_with_its_attempt(store: LocalStore) -> None:
    first = _train(store, 1, steps=3)
    first.begin_commit()
    first.journal.poll()
    second = Training(store, 2)
    assert second.weights == [[1, 1], [2, 1]]
    with pytest.raises(Fenced):
        first.journal.complete()
    second.step()
    second.finish()
    assert check_history(store) == [[1, 1], [2, 1], [3, 2]]
    check_nothing_else_is_there(store)


class _NeverSent:
    def __init__(self, path: str) -> None:
        self.path = path

    def files(self, wait_seconds: float) -> None:
        time.sleep(wait_seconds)


def test_an_upload_that_hangs_is_not_waited_for_forever(store: LocalStore) -> None:
    journal = Journal.open(store, STAGE, 1, deadline_seconds=0.1)
    journal.add_step(1, 1, step_table(1, 1), {})
    journal.begin_commit(1, _NeverSent, Ledger())
    for wait in (journal.complete, lambda: journal.finish({}, Ledger())):
        with pytest.raises(StoreError, match=r"step=000001: the checkpoint was not sent within 0 s; check the store"):
            wait()


def test_old_checkpoints_go(store: LocalStore) -> None:
    training = _train(store, 1, steps=5, every=1)
    training.finish()
    assert [record.step for record in read_manifest(store, STAGE).checkpoints] == [4, 5]
    check_nothing_else_is_there(store)


def test_committing_the_same_step_twice_changes_nothing(store: LocalStore) -> None:
    training = _train(store, 1, steps=2)
    before = store.get("probe/manifest.json")
    training.commit()
    assert store.get("probe/manifest.json") == before


def test_a_new_attempt_redoes_what_came_after_the_checkpoint(store: LocalStore) -> None:
    first = _train(store, 1, steps=5)
    first.commit(checkpoint=False)
    assert len(check_history(store)) == 5
    second = Training(store, 2)
    assert second.weights == [[1, 1], [2, 1], [3, 1], [4, 1]]
    assert check_history(store) == second.weights
    second.step()
    assert store.get("probe/attempt-1/trajectories/epoch=0001/step=000005.parquet"), "removed before the commit"
    second.step()
    second.commit()
    second.finish()
    assert check_history(store) == [[1, 1], [2, 1], [3, 1], [4, 1], [5, 2], [6, 2]]
    check_nothing_else_is_there(store)


def test_a_stale_writer_changes_nothing(store: LocalStore) -> None:
    stale = _train(store, 1, steps=3)
    fresh = _train(store, 2, steps=1)
    before = store.get("probe/manifest.json")
    stale.step()
    for write in (stale.commit, lambda: stale.commit(checkpoint=False), stale.finish):
        with pytest.raises(Fenced, match=r"another writer has taken this stage over since attempt 1 began"):
            write()
    assert store.get("probe/manifest.json") == before
    fresh.step()
    fresh.finish()
    assert check_history(store) == [[1, 1], [2, 1], [3, 2], [4, 2]]
    check_nothing_else_is_there(store)


def test_only_a_later_attempt_takes_a_stage_over(store: LocalStore) -> None:
    Journal.open(store, STAGE, 2)
    for attempt in (1, 2):
        with pytest.raises(Fenced, match=f"attempt 2 has this stage, so attempt {attempt} of another process"):
            Journal.open(store, STAGE, attempt)
    Journal.open(store, STAGE, 5)


def test_the_same_writer_may_open_its_attempt_again(store: LocalStore) -> None:
    first = Journal.open(store, STAGE, 1, writer="driver")
    first.add_step(1, 1, step_table(1, 9), {})
    first.commit(1, Ledger())
    again = Journal.open(store, STAGE, 1, writer="driver")
    assert again.manifest.steps == ()
    again.add_step(1, 1, step_table(1, 1), {})
    with pytest.raises(Fenced):  # the life before is stale
        first.finish({}, Ledger())
    again.commit(1, Ledger(rollouts=6))
    assert check_history(store) == [[1, 1]]


def test_a_twin_of_the_same_attempt_is_noticed(store: LocalStore) -> None:
    journal = Journal.open(store, STAGE, 1)
    store.put("probe/attempt-1/trajectories/epoch=0001/step=000001.parquet", b"a twin's")
    journal.add_step(1, 1, step_table(1, 1), {})
    with pytest.raises(Fenced, match="another process writes as attempt 1 too"):
        journal.commit(1, Ledger())


def test_a_finished_stage_is_only_read(store: LocalStore, tmp_path: Path) -> None:
    training = _train(store, 1, steps=3)
    training.finish()
    before = store.get("probe/manifest.json")
    with Journal.open(store, STAGE, 2) as journal:
        assert journal.manifest.finished
        assert journal.output == training.journal.output
        for write in (
            lambda: journal.add_step(4, 1, step_table(4, 2), {}),
            lambda: journal.finish({}, Ledger()),
            lambda: journal.commit(3, Ledger()),
            lambda: journal.publish("model", lambda path: ()),
            lambda: journal.restore(lambda path, records: True),
        ):
            with pytest.raises(ValueError, match="stage probe is finished"):
                write()
    assert store.get("probe/manifest.json") == before


def test_restore_goes_back_to_a_checkpoint_that_verifies(store: LocalStore, caplog: pytest.LogCaptureFixture) -> None:
    _train(store, 1, steps=4)
    store.put("probe/checkpoints/attempt-1/step=000004/optimizer.bin", b"damaged")
    second = Training(store, 2)
    assert second.weights == [[1, 1], [2, 1]]
    assert "step=000004: is missing or damaged" in caplog.text
    second.step()
    second.commit()
    assert check_history(store) == [[1, 1], [2, 1], [3, 2]]
    for entry in list(store.list("probe/checkpoints/")):
        store.delete(entry.path)
    third = Training(store, 3)
    assert third.weights == []
    third.step()
    third.finish()
    assert check_history(store) == [[1, 3]]
    check_nothing_else_is_there(store)


def test_a_checkpoint_with_a_file_missing_does_not_verify(store: LocalStore) -> None:
    _train(store, 1, steps=4)
    store.delete("probe/checkpoints/attempt-1/step=000004/optimizer.bin")
    assert len(Training(store, 2).weights) == 2


def test_a_failed_write_is_raised_by_the_next_call(store: LocalStore, tmp_path: Path) -> None:
    journal = Journal.open(store, STAGE, 1)
    (tmp_path / "store" / "probe" / "attempt-1").write_bytes(b"in the way")
    journal.add_step(1, 1, step_table(1, 1), {})
    with pytest.raises(StoreError, match="a part of this path is a file"):
        journal.commit(1, Ledger())
    with pytest.raises(StoreError, match="a part of this path is a file"):
        journal.add_step(2, 1, step_table(2, 1), {})
    assert check_history(store) == []


class _StuckStore(LocalStore):
    """Accepts the manifest, and keeps step files waiting until it is released."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.released = threading.Event()

    def put(self, path: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if path.endswith(".parquet"):
            assert self.released.wait(60)
        return super().put(path, data, if_absent=if_absent, if_match=if_match)


def test_a_store_that_hangs_is_not_waited_for_forever(tmp_path: Path) -> None:
    store = _StuckStore(tmp_path)
    journal = Journal.open(store, STAGE, 1, deadline_seconds=0.1)
    for step in range(1, 5):
        journal.add_step(step, 1, step_table(step, 1), {})
    for wait in (lambda: journal.add_step(5, 1, step_table(5, 1), {}), lambda: journal.commit(4, Ledger())):
        with pytest.raises(StoreError, match=r"files were not written within 0 s; check the store"):
            wait()
    store.released.set()


def test_publish_gives_a_folder_away_below_its_attempt(store: LocalStore, tmp_path: Path) -> None:
    journal = Journal.open(store, STAGE, 3)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    output = journal.publish("model", lambda path: folders.send(store, folder, path))
    assert output.uri == f"{store.uri}/probe/attempt-3/model"
    assert not folder.exists()
    store.download("probe/attempt-3/model", folder)
    assert output.digest == digest.of_records(digest.of_folder(folder))
    journal.finish({"model": output}, Ledger())
    assert read_manifest(store, STAGE).outputs == {"model": output}


def test_an_unreadable_manifest_is_not_overwritten(store: LocalStore) -> None:
    store.put("probe/manifest.json", b"{")
    with pytest.raises(LimrError, match=r"probe/manifest\.json: is no readable manifest"):
        Journal.open(store, STAGE, 2)
    assert store.get("probe/manifest.json") == b"{"
