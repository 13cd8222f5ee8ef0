"""The encoder that a name, a run or a description stands for, ready to run."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from eosin.core import (
    ConfigError,
    ModelError,
    hash_file,
    hash_object,
    load_config,
    suggest,
)
from eosin.inference import open_session
from eosin.runs.card import CARD_FILE, MPP_TOLERANCE, Card
from eosin.runs.origin import find_learnt, see_tiles
from eosin.runs.run import ENCODER_FILE, keep_encoder, read_run
from eosin.settings import Device, TileTraining
from eosin.studies.tile_encoder import TileEncoder
from eosin.tiles import TileFolder

if TYPE_CHECKING:
    from eosin.models import TorchEncoder, TorchEncoderSpec


def open_tile_encoder(
    folder: TileFolder,
    name: str,
    *,
    weights: str,
    device: Device,
    place: Path,
    known_sha256: str | None = None,
    module: "TorchEncoder | None" = None,
) -> TileEncoder:
    """Find or make the encoder for the tiles of a folder.

    Args:
        folder: The tiles.
        name: A run's folder, a TOML file that describes a PyTorch encoder
            (`TorchEncoderSpec`), or a name of `ENCODERS` or `TORCH_ENCODERS`.
        weights: `auto` for published ones (of `ENCODERS`: `imagenet`), `none` for
            random ones, or where they lie. A run has its own.
        device: Where it runs.
        place: The folder that `encoder.onnx` is written to, where one is made.
        module: A PyTorch encoder of one's own, in place of the one that is named.
        known_sha256: Hash of the `encoder.onnx` that was made here before of the same
            settings; it is taken as it is.
    """
    if module is not None:
        return wrap_torch_encoder(folder, module)
    if (Path(name) / CARD_FILE).exists():
        return _open_run(folder, Path(name), weights, device, place)
    path = place / ENCODER_FILE
    if known_sha256 is None or not path.exists() or hash_file(path) != known_sha256:
        # Here, because Keras takes seconds, and a run's own model needs none of it.
        from eosin.models import (  # noqa: PLC0415
            TORCH_ENCODERS,
            TorchEncoderSpec,
            open_torch_encoder,
        )

        spec = TORCH_ENCODERS.get(name)
        if Path(name).suffix == ".toml":
            spec = load_config(TorchEncoderSpec, path=Path(name))
        if spec is not None:
            # Before gigabytes are loaded.
            require_tiles_of(folder, spec)
            given = "published" if weights == "auto" else weights
            encoder = open_torch_encoder(spec, weights=given, device=device)
            return wrap_torch_encoder(folder, encoder)
        _export(folder, name, weights, place)
    return TileEncoder(
        open_session(path, device=device), name, _find_licence(weights), hash_file(path)
    )


def wrap_torch_encoder(folder: TileFolder, encoder: "TorchEncoder") -> TileEncoder:
    """Take a PyTorch encoder for the tiles of a folder, if it was made for such."""
    spec = encoder.spec
    require_tiles_of(folder, spec)
    # The normalisation and the pooling count as much as the weights do.
    sha256 = hash_object([asdict(spec), encoder.hash_weights()])
    return TileEncoder(encoder, spec.name, spec.licence, sha256)


def require_tiles_of(folder: TileFolder, spec: "TorchEncoderSpec") -> None:
    """Stop where tiles have not the size or resolution that an encoder needs."""
    info = folder.info
    needs = f"the encoder {spec.name} needs tiles of {spec.tile_px} px at {spec.mpp:g}"
    if info.mpp is None:
        raise ModelError(
            f"{folder.path}: {needs} mpp, and nobody stated the mpp of these; import "
            "them with --mpp"
        )
    # With context, a tile is shown on as many pixels as without.
    mpp = info.mpp * info.context
    if info.tile_px != spec.tile_px or abs(mpp / spec.mpp - 1) > MPP_TOLERANCE:
        raise ModelError(
            f"{folder.path}: {needs} mpp, these have {info.tile_px} px at {mpp:g}; "
            f"tile again with --mpp {spec.mpp:g} --tile-px {spec.tile_px}"
        )


def _open_run(
    folder: TileFolder, path: Path, weights: str, device: Device, place: Path
) -> TileEncoder:
    """Take the encoder of a run, fine-tuned as it is, and put it in its place."""
    run = read_run(path)
    card = run.card
    if card.learner != "tiles":
        raise ModelError(
            f"{path}: holds a bag model; name a run of a tile classifier, or an encoder"
        )
    if weights != "auto":
        raise ModelError(
            f"{path}: a run has weights of its own, and {weights} were asked for; "
            "leave out --weights, or name the encoder alone"
        )
    sessions = [open_session(path / name, device=device) for name in card.models]
    graphs = {session.encoder_hash for session in sessions}
    # Folds have one encoder together where it stays frozen.
    if len(sessions) > 1 and (len(graphs) > 1 or None in graphs):
        raise ModelError(
            f"{path}: holds an ensemble of {len(card.models)} folds, each with "
            "features of its own; train one model for all (--folds 1) and name its run"
        )
    run.require_like(
        see_tiles(folder), where=str(folder.path), advice="tile again as it needs it"
    )
    path = path / card.models[0]
    keep_encoder(path, place)
    name = f"{card.sees.encoder} of {run.path.resolve().name}"
    return TileEncoder(
        sessions[0], name, card.sees.licence, hash_file(path), find_learnt(run)
    )


def _export(folder: TileFolder, name: str, weights: str, place: Path) -> None:
    """Write an encoder of the registry with its pooling as an ONNX file."""
    from eosin.models import (  # noqa: PLC0415
        ENCODERS,
        TORCH_ENCODERS,
        build_classifier,
        build_encoder,
        build_stem,
        export_onnx,
    )

    if name not in ENCODERS:
        if Path(name).is_dir():
            # Says what an unfinished run lacks.
            Card.read(Path(name))
        raise ConfigError(
            "encoder must be the folder of a run, a TOML file, or one of "
            f"{', '.join((*ENCODERS, *TORCH_ENCODERS))}; got '{name}'"
            f"{suggest(name, (*ENCODERS, *TORCH_ENCODERS))}"
        )
    given = "imagenet" if weights == "auto" else weights
    encoder = build_encoder(name, tile_px=folder.info.tile_px, weights=given, seed=0)
    classifier = build_classifier(encoder, n_classes=2, seed=0)
    with tempfile.TemporaryDirectory() as made:
        graph = Path(made) / ENCODER_FILE
        export_onnx(build_stem(classifier, "head"), graph)
        keep_encoder(graph, place)


def _find_licence(weights: str) -> str:
    if weights in ("auto", "imagenet"):
        return "Keras Applications (Apache-2.0), trained on ImageNet under its terms"
    return "own" if weights == "none" else "as its file's owner states"


def find_obstacle(settings: TileTraining) -> str | None:
    """Say why the weights of an encoder cannot be had; None where they can."""
    from eosin.models import (  # noqa: PLC0415 - Keras takes seconds
        build_encoder,
        find_encoder,
    )

    try:
        build_encoder(
            settings.encoder,
            tile_px=find_encoder(settings.encoder).tile_px,
            weights=settings.weights,
            seed=settings.seed,
        )
    except ModelError as error:
        return str(error)
    return None
