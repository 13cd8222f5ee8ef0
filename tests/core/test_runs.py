import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from eosin.core import (
    RunError,
    SlideFailure,
    atomic_path,
    open_run,
    read_record,
    write_json,
)


def leave_half_written(path, *, is_folder=False):
    """Leave what a process leaves that is killed while it writes `path`."""
    with atomic_path(path) as temporary:
        temporary.mkdir() if is_folder else temporary.write_text("half")
    shutil.rmtree(path) if is_folder else path.unlink()
    if is_folder:
        temporary.mkdir()
        (temporary / "part").write_text("half")
    else:
        temporary.write_text("half")
    return temporary


def read(folder):
    return json.loads((folder / "run.json").read_text())


def run(folder, **options):
    options = {"settings": {"mpp": 0.5}, "inputs": {"a": "1"}, "seed": 0} | options
    with open_run(folder, "tile", **options) as record:
        return record.is_done, dict(record.notes)


def test_a_record_says_what_ran_with_what(tmp_path):
    with open_run(tmp_path / "x", "tile", settings={"mpp": 0.5}, seed=3) as record:
        assert read(tmp_path / "x")["status"] == "running"
        record.notes["n"] = 5
    content = read(tmp_path / "x")
    assert content["status"] == "done"
    assert content["settings"] == {"mpp": 0.5}
    assert content["seed"] == 3
    assert content["notes"] == {"n": 5}
    assert {"python", "eosin", "numpy"} <= set(content["versions"])
    assert content["wall_seconds"] >= 0


def test_the_same_work_is_found_done_and_not_written_again(tmp_path):
    with open_run(tmp_path, "tile", settings={"a": ("x", {"b": (1,)})}) as record:
        record.notes["n_tiles"] = 7
    before = (tmp_path / "run.json").stat().st_mtime_ns
    # Tuples and lists are the same.
    with open_run(tmp_path, "tile", settings={"a": ["x", {"b": [1]}]}) as record:
        assert (record.is_done, record.notes) == (True, {"n_tiles": 7})
    assert (tmp_path / "run.json").stat().st_mtime_ns == before
    with (
        pytest.raises(RunError, match="written by 'tile', not 'train'"),
        open_run(tmp_path, "train", settings={}),
    ):
        pass


def test_done_work_can_be_taken_up_again(tmp_path):
    run(tmp_path)
    with open_run(
        tmp_path, "tile", settings={"mpp": 0.5}, inputs={"a": "1"}, seed=0
    ) as record:
        record.reopen()
        assert not record.is_done
        assert read(tmp_path)["status"] == "running"
        record.reopen()
    assert read(tmp_path)["status"] == "done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"mpp": 1.0}}, "mpp was 0.5, is 1.0"),
        ({"settings": {"mpp": 0.5, "x": "y" * 99}}, r"x was None, is y+\.\.\."),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"inputs": {"a": "2"}}, "input a changed"),
    ],
)
def test_what_differs_is_named_and_stops(tmp_path, change, message):
    run(tmp_path)
    with pytest.raises(RunError, match=message):
        run(tmp_path, **change)


def test_overwrite_removes_only_what_the_command_writes(tmp_path):
    run(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a").write_text("")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "mine.txt").write_text("")
    # Of a link, not what it points at.
    (tmp_path / "features").symlink_to(tmp_path / "disk", target_is_directory=True)
    outputs = ("parts", "*.csv", "features")
    done, _ = run(tmp_path, settings={"mpp": 1}, overwrite=True, outputs=outputs)
    assert not done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "run.json"]
    assert (tmp_path / "disk" / "mine.txt").exists()


def test_overwrite_says_what_it_cannot_remove(tmp_path, monkeypatch):
    run(tmp_path)
    (tmp_path / "a.csv").write_text("")

    unlink = Path.unlink

    def refuse(self, *, missing_ok=False):
        if self.suffix == ".csv":
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(RunError, match=r"a\.csv: cannot be removed .Permission denied"):
        run(tmp_path, overwrite=True, outputs=("*.csv",))


def test_what_eosin_did_not_write_is_never_replaced(tmp_path):
    (tmp_path / "slides.csv").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"holds slides\.csv, .*another folder"):
            run(tmp_path, overwrite=overwrite, outputs=("*.csv", "run.json"))
    # Whatever else lies there.
    run(tmp_path, outputs=("tiles.parquet", "run.json"))
    assert (tmp_path / "slides.csv").read_text() == "mine"


def test_the_result_of_another_command_is_not_overwritten(tmp_path):
    run(tmp_path)
    (tmp_path / "slides.csv").write_text("tiled")
    train = {"settings": {}, "outputs": ("*.csv",)}
    for overwrite in (False, True):
        with (
            pytest.raises(RunError, match="written by 'tile'") as caught,
            open_run(tmp_path, "train", overwrite=overwrite, **train),
        ):
            pass
        assert "add --overwrite" not in str(caught.value)
    assert (tmp_path / "slides.csv").read_text() == "tiled"


def test_removing_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    outputs = ("*.csv", "run.json")
    run(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("old")
    unlink = Path.unlink

    def kill(self, *, missing_ok=False):
        if self.name == "a.csv":
            raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", kill)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, settings={"mpp": 1}, overwrite=True, outputs=outputs)
    assert [p.name for p in tmp_path.glob("*.csv")] == ["a.csv"]
    # What is left is no result, and is removed without being asked again.
    assert run(tmp_path, outputs=outputs) == (False, {})
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '"x"',
        "{",
        "[" * 100_000,
        '{"format": 1, "settings": []}',
        '{"format": 1, "inputs": "x"}',
        '{"format": 1, "notes": [1]}',
        '{"format": 1, "wall_seconds": "long"}',
        '{"format": 1, "status": {}}',
        '{"format": 1, "wall_seconds": NaN}',
    ],
)
def test_a_damaged_record_is_told_and_replaced(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json: .*--overwrite"):
        run(tmp_path)
    with pytest.raises(RunError, match=r"run\.json"):
        read_record(tmp_path)
    assert run(tmp_path, overwrite=True) == (False, {})
    assert read(tmp_path)["status"] == "done"


def test_damaged_notes_are_told(tmp_path):
    calls = []
    find_once(tmp_path, calls)
    content = read(tmp_path)
    for name, value in (("by_class", [1]), ("notes", 5), ("report", {})):
        damaged = content | {"notes": content["notes"] | {name: value}}
        (tmp_path / "run.json").write_text(json.dumps(damaged))
        with pytest.raises(RunError, match=r"what it notes is damaged.*--overwrite"):
            find_once(tmp_path, calls)


def test_an_interruption_and_an_error_are_told_apart(tmp_path):
    for error, status in ((KeyboardInterrupt, "interrupted"), (ValueError, "failed")):
        with (
            pytest.raises(error),
            open_run(tmp_path / status, "tile", settings={}),
        ):
            raise error
        assert read(tmp_path / status)["status"] == status


def test_unfinished_work_is_resumed_and_leftovers_of_a_kill_go(tmp_path):
    with pytest.raises(ValueError, match="x"), open_run(tmp_path, "tile", settings={}):
        raise ValueError("x")
    leave_half_written(tmp_path / "a.csv")
    leave_half_written(tmp_path / "parts" / "b.npy")
    leave_half_written(tmp_path / "model", is_folder=True)
    with open_run(tmp_path, "tile", settings={}) as record:
        assert not record.is_done
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["parts", "run.json"]


def test_an_interruption_takes_what_threads_have_half_written_with_it(tmp_path):
    def interrupt():
        leave_half_written(tmp_path / "parts" / "a.csv")
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        open_run(tmp_path, "tile", settings={}),
    ):
        interrupt()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["parts", "run.json"]


def test_only_leftovers_of_this_folder_go(tmp_path):
    run(tmp_path / "other")
    busy = leave_half_written(tmp_path / "other" / "a.csv")
    busier = leave_half_written(tmp_path / "other" / "parts" / "a.csv")
    mine = [tmp_path / ".notes.partial", tmp_path / ".x-1.part", tmp_path / "a.part"]
    for path in mine:
        path.write_text("mine")
    run(tmp_path)
    assert all(path.exists() for path in (busy, busier, *mine))


def test_failed_slides_make_a_run_incomplete_so_that_it_is_tried_again(tmp_path):
    with open_run(tmp_path, "tile", settings={}) as record:
        record.failures.append(SlideFailure("S1", "tile", "damaged"))
    assert read(tmp_path)["status"] == "incomplete"
    assert read(tmp_path)["failures"][0]["slide_id"] == "S1"
    with open_run(tmp_path, "tile", settings={}) as record:
        assert not record.is_done


def test_a_broken_record_is_refused_unless_overwritten(tmp_path):
    for text in ("{", "[]", "", '{"format": 99}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunError, match=r"run\.json: "):
            run(tmp_path)
        run(tmp_path, overwrite=True)
        assert read(tmp_path)["status"] == "done"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(RunError, match="is a file"):
        run(tmp_path / "x")
    with pytest.raises(RunError, match="cannot be written"):
        run(tmp_path / "x" / "below")


def test_a_disk_that_fills_up_at_the_end_leaves_the_running_record(
    tmp_path, monkeypatch
):
    def fill(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(RunError, match=r"run\.json: cannot be written .No space left"),
        open_run(tmp_path, "tile", settings={}),
    ):
        monkeypatch.setattr(Path, "replace", fill)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert read(tmp_path)["status"] == "running"
    monkeypatch.undo()
    with open_run(tmp_path, "tile", settings={}) as record:
        assert not record.is_done


def test_time_before_an_interruption_counts(tmp_path):
    with pytest.raises(ZeroDivisionError), open_run(tmp_path, "tile", settings={}):
        raise ZeroDivisionError
    write_json(tmp_path / "run.json", read(tmp_path) | {"wall_seconds": 100.0})
    with open_run(tmp_path, "tile", settings={}) as record:
        assert 100 <= record.wall_seconds < 160


def test_two_commands_never_work_in_one_folder(tmp_path):
    with (
        open_run(tmp_path, "tile", settings={}),
        pytest.raises(RunError, match="at work in this folder"),
        open_run(tmp_path, "tile", settings={}),
    ):
        pass
    with open_run(tmp_path, "tile", settings={}) as record:
        assert record.is_done
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_disk_without_locks_is_worked_on_all_the_same(tmp_path, monkeypatch):
    def refuse(self, *args, **options):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr("eosin.core.runs.FileLock.acquire", refuse)
    with open_run(tmp_path, "tile", settings={}):
        pass
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("name", "text", "is_worthless"),
    [
        ("splits.csv", "", True),
        ("parts/s.json", '{"failure": {"slide_id": "s"}, "rows": []}', True),
        ("parts/s.json", '{"key": "1", "rows": []}', False),
        ("tiles.parquet", "", False),
    ],
)
def test_a_call_that_failed_without_a_result_blocks_nothing(
    tmp_path, name, text, is_worthless
):
    outputs = ("run.json", "splits.csv", "tiles.parquet", "parts")

    def fail():
        with open_run(tmp_path, "tile", settings={"mpp": 9}, outputs=outputs):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    again = open_run(tmp_path, "tile", settings={"mpp": 1}, outputs=outputs)
    if is_worthless:
        with again as record:
            assert not record.is_done
            assert not (tmp_path / name).exists()
    else:
        with pytest.raises(RunError, match="mpp was 9, is 1"), again:
            pass


@dataclass(frozen=True)
class Found:
    folder: Path
    n_tiles: int
    by_class: Mapping[str, int]
    report: Path
    mpp: float | None
    notes: tuple[str, ...]
    failures: tuple[SlideFailure, ...]
    table: list[int]


def find_once(folder, calls, **options):
    """Do the same work, and say what it gave; `calls` counts how often it is done."""

    def work():
        calls.append("work")
        record.notes["more"] = 1
        record.failures += options.get("failures", [])
        return Found(
            folder, 3, {"a": 1}, folder / "r.html", None, ("so",), (), [len(calls)]
        )

    def read_table():
        calls.append("read")
        return [1]

    with open_run(folder, "tile", settings={}) as record:
        return record.once(Found, work, table=read_table)


def test_work_is_done_once_and_its_result_is_the_same_after(tmp_path):
    calls = []
    first = find_once(tmp_path, calls)
    assert calls == ["work"]
    assert first.report == tmp_path / "r.html"
    assert find_once(tmp_path, calls) == first
    assert calls == ["work", "read"]
    notes = read(tmp_path)["notes"]
    assert notes["n_tiles"] == 3
    assert notes["more"] == 1
    assert notes.keys().isdisjoint({"folder", "failures", "table"})


def test_failures_are_in_the_result_and_the_work_is_done_again(tmp_path):
    calls, failure = [], SlideFailure("s", "tile", "no")
    assert find_once(tmp_path, calls, failures=[failure]).failures == (failure,)
    assert find_once(tmp_path, calls).failures == ()
    assert calls == ["work", "work"]


def test_a_record_that_lacks_a_field_asks_for_the_work_again(tmp_path):
    find_once(tmp_path, [])
    content = read(tmp_path)
    del content["notes"]["mpp"]
    write_json(tmp_path / "run.json", content)
    with pytest.raises(RunError, match=r"run\.json.*mpp.*--overwrite"):
        find_once(tmp_path, [])


def test_a_field_that_cannot_be_noted_is_named(tmp_path):
    found = Found(tmp_path, 3, {}, tmp_path, None, (), (), {1})
    with (
        pytest.raises(TypeError, match=r"Found\.table.*set"),
        open_run(tmp_path, "tile", settings={}) as record,
    ):
        record.once(Found, lambda: found)
