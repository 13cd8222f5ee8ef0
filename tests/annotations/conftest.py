"""A slide without pixels, and the way to the real annotation files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from eosin.core import Box
from eosin.slides import Level, Slide, resolve_mpp

NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})


class FakeSlide(Slide):
    """A slide that knows its size, its scanned bounds and its properties only."""

    def __init__(
        self,
        *,
        size: tuple[int, int] = (1000, 800),
        bounds: Box | None = None,
        mpp: float | None = 0.5,
        properties: Mapping[str, str] = NO_PROPERTIES,
    ) -> None:
        self.path = Path("fake.ndpi")
        self.levels = (Level(*size, 1.0),)
        self.bounds = bounds or Box(0, 0, *size)
        self.resolution = resolve_mpp(given=mpp)
        self.properties = properties
        self.vendor, self.reader, self.native_tile_px = "fake", "fake", None

    def close(self) -> None:
        pass

    def _read_level(self, *_: object) -> None:
        raise NotImplementedError


FakeSlide.__abstractmethods__ = frozenset()


@pytest.fixture
def make_slide() -> Callable[..., Slide]:
    return FakeSlide


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)
        return path

    return write_file
