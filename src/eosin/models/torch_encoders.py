"""Encoders that live in PyTorch: pathology's own, from timm and Hugging Face.

They are not installed with eosin, and their weights are their owners'. Each entry
says at which resolution an encoder wants its tiles; it is not run on others.
"""

import hashlib
import importlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eosin.core import ConfigError, MissingExtraError, ModelError, find_stop
from eosin.models.keras_files import first_line

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# Tiles of a call.
_BATCH = 32
_EXTRA = "pip install eosin[encoders]"


@dataclass(frozen=True, kw_only=True)
class TorchEncoderSpec:
    """What must be known of an encoder to run it rightly.

    Attributes:
        name: Its name on the command line.
        library: Which package makes it: `timm` or `transformers`.
        source: The package's name of it, such as `hf-hub:owner/model`.
        tile_px: Side of the tiles that it takes, in pixels.
        mpp: Micrometres per pixel of these tiles.
        dimension: Features per tile.
        licence: Terms of its weights.
        mean: Of red, green and blue, 0 to 1; subtracted first.
        deviation: Divided by afterwards.
        pooling: What is made of the model's output: `vector` takes it as it is,
            `class` its first token, `class_mean` that and the mean of the patches'.
        n_registers: Tokens between the first one and the patches'.
        architecture: timm's name of the network, for weights from a file; empty
            where `source` says it.
        options: Further arguments of `timm.create_model`. A text that begins with
            `timm.` or `torch.` names an object of that package.

    Raises:
        ConfigError: A number is out of range.
    """

    name: str
    library: Literal["timm", "transformers"] = "timm"
    source: str
    tile_px: int
    mpp: float
    dimension: int
    licence: str
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    deviation: tuple[float, float, float] = _IMAGENET_DEVIATION
    pooling: Literal["vector", "class", "class_mean"] = "vector"
    n_registers: int = 0
    architecture: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.tile_px, self.mpp, self.dimension, *self.deviation)
        if min(numbers) <= 0 or self.n_registers < 0:
            raise ConfigError(
                f"{self.name}: tile_px, mpp, dimension and deviation must be above 0, "
                f"n_registers 0 or more; got {numbers} and {self.n_registers}"
            )


class TorchEncoder:
    """A PyTorch module that encodes tiles, with the face of an ONNX session.

    Attributes:
        spec: What it is.
        outputs: `features`, a vector per tile.

    Args:
        module: Takes `(batch, 3, px, px)`, normalised, and gives vectors `(batch,
            dimension)`, tokens `(batch, tokens, features)`, or an object whose
            `last_hidden_state` is such tokens. It is put into evaluation mode.
        spec: What it is.
        device: Where it runs; `auto` takes a CUDA GPU where there is one.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """

    def __init__(
        self,
        module: Any,
        spec: TorchEncoderSpec,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self._torch = _import("torch")
        has_cuda = bool(self._torch.cuda.is_available())
        if device == "cuda" and not has_cuda:
            raise ConfigError(
                "device cuda was asked for, and PyTorch finds no GPU; use --device cpu"
            )
        self.spec = spec
        self.outputs = {"features": (spec.dimension,)}
        self._device = "cuda" if has_cuda and device != "cpu" else "cpu"
        self._turn = threading.Lock()
        self._module = module.to(self._device).eval()
        self._mean, self._deviation = (
            self._torch.tensor(values, device=self._device).reshape(1, 3, 1, 1)
            for values in (spec.mean, spec.deviation)
        )

    def run(
        self, tiles: npt.NDArray[np.uint8], *, batch: int | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Encode raw RGB tiles, `(tiles, px, px, 3)`, to `(tiles, dimension)`.

        `batch` tiles are in a call, None is 32. Threads take turns.

        Raises:
            ValueError: The tiles are not uint8 or of another size.
            ModelError: The module gives something else than its entry says.
        """
        px = self.spec.tile_px
        if tiles.shape[1:] != (px, px, 3) or tiles.dtype != np.uint8:
            raise ValueError(
                f"{self.spec.name} takes tiles of {px} px as raw RGB of uint8, got "
                f"{tiles.shape[1:]} of {tiles.dtype}"
            )
        step = batch or _BATCH
        # PyTorch has all cores, or the GPU, for one call.
        run_batch = find_stop().bind(self._run_batch)
        with self._turn:
            parts = [
                run_batch(tiles[start : start + step])
                for start in range(0, len(tiles), step)
            ]
        empty = np.empty((0, self.spec.dimension), np.float32)
        return {"features": np.concatenate([empty, *parts])}

    def _run_batch(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with self._torch.inference_mode():
            pixels = self._torch.from_numpy(np.ascontiguousarray(tiles)).to(
                self._device
            )
            pixels = pixels.permute(0, 3, 1, 2).float() / 255
            found = self._module((pixels - self._mean) / self._deviation)
            vectors = self._pool(getattr(found, "last_hidden_state", found))
        wanted = (len(tiles), self.spec.dimension)
        if tuple(vectors.shape) != wanted:
            raise ModelError(
                f"{self.spec.name} must give features of the shape {wanted}, gave "
                f"{tuple(vectors.shape)}; correct its dimension or its pooling"
            )
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def _pool(self, found: Any) -> Any:
        if self.spec.pooling == "vector":
            return found
        if found.ndim != 3:
            raise ModelError(
                f"{self.spec.name}: pooling '{self.spec.pooling}' needs tokens (batch, "
                f"tokens, features), got {tuple(found.shape)}; use pooling 'vector'"
            )
        if self.spec.pooling == "class":
            return found[:, 0]
        patches = found[:, 1 + self.spec.n_registers :].mean(1)
        return self._torch.cat([found[:, 0], patches], dim=-1)

    def hash_weights(self) -> str:
        """Return the SHA-256 of every weight, name by name."""
        digest = hashlib.sha256()
        for name, value in sorted(self._module.state_dict().items()):
            digest.update(name.encode())
            # As bytes: NumPy lacks some of PyTorch's types.
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(self._torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def open_torch_encoder(
    spec: TorchEncoderSpec,
    *,
    weights: str | Path = "published",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> TorchEncoder:
    """Make an encoder with its weights.

    Args:
        spec: Which.
        weights: `published` (timm and Hugging Face download them once; many are
            gated and need a login there), or where they lie on this machine: a file
            for timm, a folder for transformers.
        device: As for `TorchEncoder`.

    Raises:
        MissingExtraError: timm or transformers is not installed.
        ModelError: The weights cannot be had or do not fit.
    """
    library = _import(spec.library)
    is_file = weights != "published"
    if is_file and not Path(weights).exists():
        raise ModelError(f"{weights}: no such weights of {spec.name}")
    try:
        if spec.library == "transformers":
            place = str(weights) if is_file else spec.source
            module = library.AutoModel.from_pretrained(place)
        else:
            name, given = spec.source, _resolve(spec.options)
            if is_file:
                name = spec.architecture or spec.source
                given["checkpoint_path"] = str(weights)
            module = library.create_model(name, pretrained=not is_file, **given)
    except Exception as error:  # both raise whatever their downloads do
        raise ModelError(
            f"the weights of {spec.name} ({spec.source}) cannot be had "
            f"({first_line(error)}); ask for access on its page and log in with "
            "'hf auth login', or give a copy by --weights"
        ) from error
    return TorchEncoder(module, spec, device=device)


def _resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the names of objects by the objects."""
    resolved = dict(options)
    for key, value in options.items():
        if isinstance(value, str) and value.startswith(("timm.", "torch.")):
            module, _, name = value.rpartition(".")
            resolved[key] = getattr(_import(module), name)
    return resolved


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(
            f"this encoder needs the package {package}, which is not installed; "
            f"`{_EXTRA}` ({error})"
        ) from error


_GATED = "CC-BY-NC-ND-4.0, gated"
_VIT = {"init_values": 1e-5, "num_classes": 0, "dynamic_img_size": True}
_SWIGLU = {
    **_VIT,
    "mlp_layer": "timm.layers.SwiGLUPacked",
    "act_layer": "torch.nn.SiLU",
    "img_size": 224,
}
_SPECS = (
    TorchEncoderSpec(
        name="uni",
        source="hf-hub:MahmoodLab/uni",
        architecture="vit_large_patch16_224",
        tile_px=224,
        mpp=0.5,
        dimension=1024,
        licence=_GATED,
        options=_VIT,
    ),
    TorchEncoderSpec(
        name="uni2_h",
        source="hf-hub:MahmoodLab/UNI2-h",
        architecture="vit_giant_patch14_224",
        tile_px=224,
        mpp=0.5,
        dimension=1536,
        licence=_GATED,
        options={
            **_SWIGLU,
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
        },
    ),
    TorchEncoderSpec(
        name="virchow2",
        source="hf-hub:paige-ai/Virchow2",
        architecture="vit_huge_patch14_224",
        tile_px=224,
        mpp=0.5,
        dimension=2560,
        licence=_GATED,
        pooling="class_mean",
        n_registers=4,
        options={**_SWIGLU, "reg_tokens": 4, "mlp_ratio": 5.3375, "global_pool": ""},
    ),
    TorchEncoderSpec(
        name="h_optimus_0",
        source="hf-hub:bioptimus/H-optimus-0",
        architecture="vit_giant_patch14_reg4_dinov2",
        tile_px=224,
        mpp=0.5,
        dimension=1536,
        licence="Apache-2.0",
        mean=(0.707223, 0.578729, 0.703617),
        deviation=(0.211883, 0.230117, 0.177517),
        options={
            **_VIT,
            "img_size": 224,
            "global_pool": "token",
            "dynamic_img_size": False,
        },
    ),
    TorchEncoderSpec(
        name="phikon_v2",
        library="transformers",
        source="owkin/phikon-v2",
        tile_px=224,
        mpp=0.5,
        dimension=1024,
        licence="Owkin non-commercial licence",
        pooling="class",
    ),
)

TORCH_ENCODERS: Mapping[str, TorchEncoderSpec] = MappingProxyType(
    {spec.name: spec for spec in _SPECS}
)
"""PyTorch encoders by their name, as their owners' cards describe them."""
