"""Downloading published data sets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from eosin.cohorts import PCAM_ADDRESS, PCAM_MD5
from eosin.core import ConfigError, Progress, open_run
from eosin.workflows.downloading import download_file

_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """What is downloaded.

    Attributes:
        data: The data set: `pcam` (PatchCamelyon, 7.5 GiB).
        splits: Its splits; none named are all.
        address: Where the files are, `{name}` for a file's name. None is the authors'
            own place.
    """

    data: Literal["pcam"] = "pcam"
    splits: tuple[str, ...] = _SPLITS
    address: str | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.splits) - set(_SPLITS)):
            raise ConfigError(
                f"splits must be of {', '.join(_SPLITS)}, got {', '.join(unknown)}"
            )
        if self.address is not None and "{name}" not in self.address:
            raise ConfigError(
                f"an address must hold {{name}} for the file's name, got {self.address}"
            )

    @property
    def names(self) -> Sequence[str]:
        """The files to download, small ones first."""
        wanted = self.splits or _SPLITS
        names = [n for n in PCAM_MD5 if any(f"_{s}_" in n for s in wanted)]
        return sorted(names, key=lambda name: "_x.h5" in name)


@dataclass(frozen=True)
class FetchResult:
    """What `fetch_data` did.

    Attributes:
        folder: Where the files lie.
        fetched: Files that were downloaded, wholly or in part.
        kept: Files that were there already and are right.
    """

    folder: Path
    fetched: tuple[str, ...]
    kept: tuple[str, ...]


def fetch_data(
    config: FetchConfig,
    out: Path,
    *,
    checksums: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> FetchResult:
    """Download a published data set; an interrupted download goes on.

    Every file is held against its published checksum. Writes `run.json` beside them.

    Args:
        config: What is downloaded.
        out: The folder to write to.
        checksums: MD5 by file name; None takes the published ones.
        progress: Told of the bytes.

    Raises:
        RunError: A server does not answer, a checksum is wrong, or the disk is full.
    """
    known = PCAM_MD5 if checksums is None else checksums
    address = config.address or PCAM_ADDRESS
    fetched: list[str] = []
    kept: list[str] = []
    # Which splits are asked for is no setting: files are added to what is there.
    settings = {k: v for k, v in asdict(config).items() if k == "data"}
    with open_run(out, "fetch", settings=settings) as record:
        record.reopen()
        for name in config.names:
            is_new = download_file(
                address.format(name=name),
                out / name,
                md5=known[name],
                progress=progress,
            )
            (fetched if is_new else kept).append(name)
            record.notes[name] = {"md5": known[name], "address": address}
    return FetchResult(out, tuple(fetched), tuple(kept))
