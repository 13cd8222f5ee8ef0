import numpy as np

from eosin.evaluation import compute_probabilities
from eosin.inference import open_session
from eosin.workflows.scoring import score_rows
from eosin.workflows.tile_folder import open_tile_folder


def test_scores_are_those_of_the_model_on_the_very_tiles(run_folder, tile_folder):
    folder = open_tile_folder(tile_folder)
    rows = folder.tiles.iloc[[5, 2, 9]]
    session = open_session(run_folder / "model.onnx")
    scored = score_rows(folder, rows, [session], temperature=2.0)
    with folder.open_reader() as reader:
        logits = session.run(reader.read(np.array([5, 2, 9])))["logits"]
    np.testing.assert_allclose(scored.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(
        scored.probabilities, compute_probabilities(logits, 2.0), rtol=1e-5
    )
    assert list(scored.tiles["tile_id"]) == list(rows["tile_id"])
    assert scored.n_unreadable == 0
