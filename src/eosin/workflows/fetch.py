"""Downloading published data sets."""

from dataclasses import asdict, dataclass
from pathlib import Path

from eosin.cohorts import PCAM_ADDRESS, PCAM_MD5, download_file
from eosin.core import WATCHED, Progress, Showable, open_run
from eosin.settings import PCAM_SPLITS, FetchSettings, require_settings


@dataclass(frozen=True)
class FetchResult(Showable):
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
    out: Path,
    settings: FetchSettings | None = None,
    *,
    checksums: dict[str, str] | None = None,
    progress: Progress | None = WATCHED,
) -> FetchResult:
    """Download a published data set; an interrupted download goes on.

    Every file is held against its published checksum. Writes `run.json` beside them.

    Args:
        out: The folder to write to.
        settings: What is downloaded.
        checksums: MD5 by file name; None takes the published ones.
        progress: Told of the bytes.

    Raises:
        RunError: A server does not answer, a checksum is wrong, or the disk is full.
    """
    settings = require_settings(settings, FetchSettings)
    out = Path(out)
    known = PCAM_MD5 if checksums is None else checksums
    address = settings.address or PCAM_ADDRESS
    wanted = settings.splits or PCAM_SPLITS
    names = [n for n in PCAM_MD5 if any(f"_{split}_" in n for split in wanted)]
    fetched: list[str] = []
    kept: list[str] = []
    # Which splits are asked for is no setting: files are added to what is there.
    recorded = {k: v for k, v in asdict(settings).items() if k == "data"}
    with open_run(out, "fetch", settings=recorded) as record:
        record.reopen()
        # Small files first.
        for name in sorted(names, key=lambda name: "_x.h5" in name):
            is_new = download_file(
                address.format(name=name),
                out / name,
                md5=known[name],
                progress=progress,
            )
            (fetched if is_new else kept).append(name)
            record.notes[name] = {"md5": known[name], "address": address}
    return FetchResult(out, tuple(fetched), tuple(kept))
