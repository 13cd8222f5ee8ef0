import json

import pytest

from eosin.core import RunError, SlideFailure, open_run, write_json


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
    run(tmp_path)
    before = (tmp_path / "run.json").stat().st_mtime_ns
    assert run(tmp_path)[0]
    assert (tmp_path / "run.json").stat().st_mtime_ns == before


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


def test_tuples_and_lists_are_the_same_setting(tmp_path):
    run(tmp_path, settings={"a": ("x", {"b": (1,)})})
    assert run(tmp_path, settings={"a": ["x", {"b": [1]}]})[0]


def test_another_commands_folder_is_refused(tmp_path):
    run(tmp_path)
    with (
        pytest.raises(RunError, match="written by 'tile', not 'train'"),
        open_run(tmp_path, "train", settings={}),
    ):
        pass


def test_overwrite_removes_only_what_the_command_writes(tmp_path):
    run(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a").write_text("")
    (tmp_path / "mine.txt").write_text("")
    done, _ = run(
        tmp_path, settings={"mpp": 1}, overwrite=True, outputs=("parts", "*.csv")
    )
    assert not done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "run.json"]


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
    (tmp_path / ".a-1.part.csv").write_text("half")
    (tmp_path / ".b-1.part").mkdir()
    with open_run(tmp_path, "tile", settings={}) as record:
        assert not record.is_done
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_failed_slides_make_a_run_incomplete_so_that_it_is_tried_again(tmp_path):
    with open_run(tmp_path, "tile", settings={}) as record:
        record.failures.append(SlideFailure("S1", "tile", "damaged"))
    assert read(tmp_path)["status"] == "incomplete"
    assert read(tmp_path)["failures"][0]["slide_id"] == "S1"
    with open_run(tmp_path, "tile", settings={}) as record:
        assert not record.is_done


def test_a_record_of_another_version_is_refused_unless_overwritten(tmp_path):
    write_json(tmp_path / "run.json", {"format": 99})
    with pytest.raises(RunError, match="another version of eosin"):
        run(tmp_path)
    run(tmp_path, overwrite=True)
    assert read(tmp_path)["format"] == 1


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(RunError, match="is a file"):
        run(tmp_path / "x")
