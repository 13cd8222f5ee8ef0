from typing import ClassVar

import numpy as np
import pytest

from eosin.core import Progress, SlideError
from eosin.workflows import patch_scores as module
from eosin.workflows.patch_scores import score_patches

PX = 4


class Brightness:
    """A model whose logit is a tile's mean over 255, and that counts its tiles."""

    tile_px = PX
    outputs: ClassVar = {"logits": (1,)}

    def __init__(self):
        self.n_tiles = 0

    def run(self, tiles, *, batch=32):
        del batch
        self.n_tiles += len(tiles)
        return {"logits": tiles.mean(axis=(1, 2, 3))[:, None].astype(np.float32) / 255}


class Patches:
    """Grey patches, each of its row's number; some cannot be read."""

    def __init__(self, *bad):
        self.bad = set(bad)

    def read(self, rows):
        if found := self.bad & set(rows.tolist()):
            raise SlideError(f"row {min(found)} is damaged")
        grey = rows.astype(np.uint8)[:, None, None, None]
        return np.broadcast_to(grey, (len(rows), PX, PX, 3)).copy()


def score(folder, patches, n=25, model=None, **options):
    options = {"views": 1, "temperature": 1.0, "batch": 4, **options}
    models = [model or Brightness()]
    return score_patches(patches.read, n, models, folder / "parts", **options)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "_PART", 10)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_every_patch_has_its_own_probability(tmp_path):
    found = score(tmp_path, Patches(), readers=2)
    expected = sigmoid(np.arange(25) / 255)
    np.testing.assert_allclose(found.probabilities[:, 1], expected, rtol=1e-6)
    assert found.errors == {}
    names = [path.name for path in sorted((tmp_path / "parts").iterdir())]
    assert names == ["000000000.npy", "000000010.npy", "000000020.npy"]


def test_an_interrupted_call_goes_on_where_it_was(tmp_path):
    class Stop(Patches):
        def read(self, rows):
            if rows.max() >= 15:
                raise KeyboardInterrupt
            return super().read(rows)

    with pytest.raises(KeyboardInterrupt):
        score(tmp_path, Stop())
    model = Brightness()
    done = score(tmp_path, Patches(), model=model)
    assert model.n_tiles == 15
    whole = score(tmp_path / "whole", Patches())
    np.testing.assert_array_equal(done.probabilities, whole.probabilities)


def test_a_bad_patch_costs_itself_only_and_says_why(tmp_path):
    found = score(tmp_path, Patches(3, 12))
    assert found.errors == {3: "row 3 is damaged", 12: "row 12 is damaged"}
    assert np.flatnonzero(np.isnan(found.probabilities[:, 1])).tolist() == [3, 12]


def test_parts_with_bad_patches_are_tried_again(tmp_path):
    score(tmp_path, Patches(3))
    model = Brightness()
    found = score(tmp_path, Patches(), model=model)
    assert model.n_tiles == 10
    assert found.errors == {}
    assert np.isfinite(found.probabilities).all()


def test_a_part_of_which_nothing_can_be_read_does_not_stop_the_rest(tmp_path):
    found = score(tmp_path, Patches(*range(20, 25)))
    assert sorted(found.errors) == list(range(20, 25))
    assert np.isnan(found.probabilities[20:]).all()
    assert np.isfinite(found.probabilities[:20]).all()


@pytest.mark.parametrize("content", [b"", b"no array"])
def test_a_damaged_part_is_scored_anew(tmp_path, content):
    whole = score(tmp_path, Patches())
    (tmp_path / "parts" / "000000010.npy").write_bytes(content)
    again = score(tmp_path, Patches())
    np.testing.assert_array_equal(again.probabilities, whole.probabilities)


def test_a_part_of_another_length_is_scored_anew(tmp_path):
    score(tmp_path, Patches(), n=22)
    assert len(score(tmp_path, Patches()).probabilities) == 25


def test_eight_views_are_averaged(tmp_path):
    class Corner(Brightness):
        def run(self, tiles, *, batch=32):
            super().run(tiles, batch=batch)
            return {"logits": tiles[:, 0, 0, :1].astype(np.float32)}

    class Marked:
        def read(self, rows):
            tiles = np.zeros((len(rows), PX, PX, 3), np.uint8)
            tiles[:, 0, 0] = 4
            return tiles

    # Of eight views two have the marked corner at the top left: 4 x 2 / 8 = 1.
    found = score(tmp_path, Marked(), n=1, model=Corner(), views=8)
    assert found.probabilities[0, 1] == pytest.approx(sigmoid(1))


def test_progress_counts_finished_parts_too(tmp_path):
    seen = []

    class Counter(Progress):
        def task(self, name, total):
            seen.append(total)
            own = super().task(name, total)
            task = own.__enter__()
            task.advance = lambda n=1, note="": seen.append(n)

            class Opened:
                def __enter__(self):
                    return task

                def __exit__(self, *_):
                    return None

            return Opened()

    score(tmp_path, Patches())
    score(tmp_path, Patches(), progress=Counter())
    assert seen[0] == 25
    assert sum(seen[1:]) == 25
