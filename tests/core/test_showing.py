from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from eosin.core import Showable


@dataclass(frozen=True)
class Result(Showable):
    pictures = ("absent.png", "overviews/*.jpg")

    folder: Path
    n_tiles: int
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    cautions: tuple[str, ...]
    table: pd.DataFrame = field(default_factory=pd.DataFrame)


def test_a_result_shows_numbers_words_and_a_small_picture(tmp_path):
    (tmp_path / "overviews").mkdir()
    picture = Image.fromarray(np.zeros((900, 1200, 3), np.uint8))
    picture.save(tmp_path / "overviews" / "S1.jpg")
    auc = {"value": 0.91234, "low": 0.8, "high": 0.95, "n": 20}
    text = Result(
        tmp_path,
        12_345,
        {"slide": {"roc_auc": auc, "f1": {"value": None}}, "patient": {"roc_auc": auc}},
        ("Only 4 <patients>.", *map(str, range(6))),
        pd.DataFrame({"slide_id": ["S1"]}),
    )._repr_html_()
    assert "n tiles: 12,345" in text
    assert (
        "<td>roc auc</td><td>0.912 (0.80-0.95)</td><td>0.912 (0.80-0.95)</td>" in text
    )
    assert "<td>f1</td><td>-</td><td>-</td>" in text
    assert "Only 4 &lt;patients&gt;." in text
    assert "2 more" in text
    assert "S1</td>" in text
    assert 'alt="S1.jpg" src="data:image/jpeg;base64,' in text
    assert len(text) < 20_000


def test_a_result_without_pictures_has_none(tmp_path):
    text = Result(tmp_path, 1, {}, ())._repr_html_()
    assert "<img" not in text
    assert "n tiles: 1" in text
