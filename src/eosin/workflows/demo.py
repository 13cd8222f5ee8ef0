"""The whole main job on made slides, on a machine with nothing but eosin."""

from dataclasses import dataclass
from pathlib import Path

from eosin.cohorts import make_phantom_cohort
from eosin.core import WATCHED, Progress, Showable
from eosin.settings import TileTraining, TilingSettings
from eosin.workflows.evaluate import evaluate
from eosin.workflows.predict import predict
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import train


@dataclass(frozen=True)
class DemoResult(Showable):
    """Where to look after `run_demo`.

    Attributes:
        report: The evaluation's report.
        predictions: Heatmaps, overlays and annotations of the new slides.
        overviews: Pictures of the tiles.
    """

    report: Path
    predictions: Path
    overviews: Path


def run_demo(
    out: Path,
    *,
    weights: str = "none",
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = WATCHED,
) -> DemoResult:
    """Make slides, then tile, train, evaluate and predict.

    Args:
        out: The folder to write to.
        weights: `none` trains the small CNN from scratch; anything else trains
            MobileNetV2 with these weights.
        seed: Seed of everything random.
        workers: Slides worked on at once.
        progress: Told how far it is.
    """
    out, progress = Path(out), progress or Progress()
    cohort = make_phantom_cohort(out / "cohort", seed=seed, progress=progress)
    tiling = TilingSettings(mpp=1.0, tile_px=96)
    tile_cohort(cohort.table, out / "tiles", tiling, workers=workers, progress=progress)
    if weights == "none":
        training = TileTraining(
            encoder="smallcnn",
            weights="none",
            tune_epochs=10,
            tune_learning_rate=2e-3,
            seed=seed,
        )
    else:
        training = TileTraining(encoder="mobilenetv2", weights=weights, seed=seed)
    run = out / "run"
    train(out / "tiles", run, training, progress=progress)
    evaluate(run, progress=progress)
    predict(
        run, cohort.new_slides, out / "predictions", workers=workers, progress=progress
    )
    return DemoResult(
        run / "evaluation" / "report.html",
        out / "predictions",
        out / "tiles" / "overviews",
    )
