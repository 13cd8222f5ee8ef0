"""The best models on the way, kept beside the one that training ends with."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import RunError, raising, read_json, write_csv, write_json
from eosin.models import export_onnx, load_classifier, save_model
from eosin.training.history import HISTORY_COLUMNS, EpochMetrics

_LIST_FILE = "snapshots.json"


class SnapshotKeeper:
    """Keeps a classifier as it was after its `n_kept` best epochs, in a folder.

    An interrupted training finds its earlier snapshots again.
    """

    def __init__(self, folder: Path, n_kept: int) -> None:
        self._folder = folder
        self._n_kept = n_kept

    def offer(self, classifier: Any, metrics: EpochMetrics) -> None:
        """Keep a classifier, as validation saw it, if it is among the best.

        A higher AUC is better, and of equal ones the lower loss.
        """
        # An epoch that is trained again after an interruption replaces itself.
        others = [row for row in self.list() if _name(row) != _name(metrics)]
        ranked = sorted([*others, metrics], key=lambda row: row.rank("val_roc_auc"))
        kept, dropped = ranked[: self._n_kept], ranked[self._n_kept :]
        if metrics in kept:
            save_model(classifier, self._folder / f"{_name(metrics)}.keras")
        write_json(self._folder / _LIST_FILE, [asdict(row) for row in kept])
        for row in dropped:
            (self._folder / f"{_name(row)}.keras").unlink(missing_ok=True)

    def list(self) -> list[EpochMetrics]:
        """List what is kept, the best one first."""
        path = self._folder / _LIST_FILE
        if not path.exists():
            return []
        remedy = "delete it, and the same command keeps its snapshots anew"
        with raising(RunError, f"{path}: is damaged", remedy=remedy):
            return [EpochMetrics(**row) for row in read_json(path, list)]

    def export(self, place: Path) -> None:
        """Write each snapshot to a folder as `<stage>_epoch_<n>.keras` and `.onnx`.

        `snapshots.csv` says what validation said of each, the best one first.
        """
        rows = self.list()
        for row in rows:
            classifier = load_classifier(self._folder / f"{_name(row)}.keras")
            save_model(classifier, place / f"{_name(row)}.keras")
            export_onnx(classifier, place / f"{_name(row)}.onnx")
        table = pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
        table.insert(0, "snapshot", [_name(row) for row in rows])
        write_csv(place / "snapshots.csv", table)


def _name(metrics: EpochMetrics) -> str:
    return f"{metrics.stage}_epoch_{metrics.epoch:02d}"
