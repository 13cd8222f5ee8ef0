"""How a result shows itself in a notebook: facts, numbers, a small picture."""

import base64
import dataclasses
import html
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PICTURE_PX = 480
_MOST_ROWS = 10
_MOST_TEXTS = 5


class Showable:
    """A result that shows itself in a notebook; its dataclass says what there is.

    Attributes:
        pictures: Patterns of files below the result's `folder`; the first that is
            there is shown.
    """

    pictures = tuple[str, ...]()

    def _repr_html_(self) -> str:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        folder = fields.get("folder")
        parts = [
            f"<p><b>{type(self).__name__}</b> {html.escape(str(folder or ''))}</p>"
        ]
        for name, value in fields.items():
            if name != "folder":
                parts += _write_field(name.replace("_", " "), value)
        if isinstance(folder, Path):
            parts += _write_picture(folder, self.pictures)
        return "".join(parts)


def _write_field(name: str, value: Any) -> Iterator[str]:
    """Write a field as a table or a list; what is neither is left out."""
    if isinstance(value, str | int | float | Path):
        yield f"<p>{html.escape(name)}: {html.escape(_write(value))}</p>"
    elif hasattr(value, "_repr_html_") and hasattr(value, "head"):
        yield value.head(_MOST_ROWS)._repr_html_()
    elif isinstance(value, Mapping) and value:
        yield from _write_mapping(name, value)
    elif isinstance(value, tuple) and value:
        texts = [html.escape(_write(part)) for part in value[:_MOST_TEXTS]]
        if (n := len(value) - _MOST_TEXTS) > 0:
            texts.append(f"{n:,} more")
        items = "".join(f"<li>{text}</li>" for text in texts)
        yield f"<p>{html.escape(name)}</p><ul>{items}</ul>"


def _write_mapping(name: str, values: Mapping[Any, Any]) -> Iterator[str]:
    """Write metrics as a table of levels, and plain numbers as a row of them."""
    if all(isinstance(value, Mapping) for value in values.values()):
        levels = list(values.values())
        measures = dict.fromkeys(measure for level in levels for measure in level)
        rows = [
            [m, *(_write_metric(level.get(m)) for level in levels)] for m in measures
        ]
        yield _write_table(
            [name, *map(str, values)],
            [[row[0].replace("_", " "), *row[1:]] for row in rows],
        )
    else:
        yield _write_table(
            [name, ""], [[str(key), _write(value)] for key, value in values.items()]
        )


def _write_metric(metric: Any) -> str:
    """Write a metric of `metrics.json` with its interval."""
    if not isinstance(metric, Mapping) or metric.get("value") is None:
        return "-" if metric is None or isinstance(metric, Mapping) else _write(metric)
    low, high = metric.get("low"), metric.get("high")
    ends = (
        "" if low is None or high is None or low == high else f" ({low:.2f}-{high:.2f})"
    )
    return f"{metric['value']:.3f}{ends}"


def _write_table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _write(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_write, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _write_picture(folder: Path, patterns: tuple[str, ...]) -> Iterator[str]:
    """Embed the first picture that is there, small."""
    found = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    if (path := next(found, None)) is None:
        return
    from PIL import Image  # noqa: PLC0415 - only notebooks show pictures

    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((_PICTURE_PX, _PICTURE_PX))
    small.save(file := io.BytesIO(), "JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    name = html.escape(path.name)
    yield f'<p><img alt="{name}" src="data:image/jpeg;base64,{data}"></p>'
