"""Patches that look alike: copies, also re-saved, re-coloured, turned or mirrored.

What a patch looks like is kept as the low frequencies of its grey image, found by a
discrete cosine transform. Their signs are a hash of 63 bits. Patches whose hashes
share one of four bands are compared closely, so that few of all pairs are ever
looked at. Turning and mirroring only change signs and order of the frequencies, so
all eight views are compared without reading a pixel again.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from eosin.settings import ImportSettings

DEFAULT_SIMILARITY = ImportSettings.similarity
# Of centred features, as a cosine.
_FEATURE_SIMILARITY = 0.98

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
View = tuple[bool, npt.NDArray[np.float32], np.uint64]

_SIDE_PX = 32
_N = 8
_N_BITS = _N * _N - 1
_ROWS, _COLUMNS = np.mgrid[:_N, :_N]
# Tissue has about amplitude 1 / f; without the weight two patches with one border of
# tissue each would look alike, whatever else is on them.
_WEIGHTS = np.sqrt(_ROWS**2 + _COLUMNS**2).astype(np.float32)
# Below this spread of its low frequencies, in grey levels, a patch is flat.
_FLAT = 1e-2

_BAND_STARTS = (0, 16, 32, 47)
_BAND_BITS = 16
_ALL_BITS = (1 << _N_BITS) - 1
# Of 63 bits. Re-saved copies differ in up to 5; only what passes is compared closely.
_MAX_DISTANCE = 12
# A hash is compared with so many on either side in its band at most, so that a
# million patches of one look cannot take forever.
_WINDOW = 64


@dataclass(frozen=True, eq=False)
class Looks:
    """What patches look like.

    Attributes:
        hashes: Of each and of its mirror image about the diagonal, `(patches, 2)`.
        frequencies: Weighted low ones of length 1, or all 0 where it is flat,
            `(patches, 64)`, float16.
    """

    hashes: Hashes
    frequencies: npt.NDArray[np.float16]

    @classmethod
    def join(cls, parts: Sequence["Looks"]) -> "Looks":
        """Put the looks of further patches behind those of the first."""
        hashes = np.concatenate([part.hashes for part in parts])
        return cls(hashes, np.concatenate([part.frequencies for part in parts]))

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, rows: Rows) -> "Looks":
        """Return the looks of some of the patches."""
        return Looks(self.hashes[rows], self.frequencies[rows])


def describe_looks(patches: Sequence[npt.NDArray[np.uint8]]) -> Looks:
    """Describe RGB patches of any size, `(height, width, 3)` each."""
    small = np.empty((len(patches), _SIDE_PX, _SIDE_PX), np.float32)
    for target, patch in zip(small, patches, strict=True):
        grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
        size = (_SIDE_PX, _SIDE_PX)
        target[:] = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        cv2.dct(target, target)
    low = small[:, :_N, :_N].copy()
    low[:, 0, 0] = 0
    # The transform of a flat image is 0 but for rounding.
    is_flat = np.linalg.norm(low, axis=(1, 2)) < _FLAT * _SIDE_PX
    low[is_flat] = 0
    weighted = (low * _WEIGHTS).reshape(len(low), _N * _N)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = weighted / np.where(length > 0, length, 1)
    hashes = np.stack([_hash(low), _hash(low.transpose(0, 2, 1))], axis=1)
    return Looks(hashes, unit.astype(np.float16))


def group_near_duplicates(
    looks: Looks,
    *,
    identical: npt.NDArray[np.generic] | None = None,
    features: npt.NDArray[np.floating] | None = None,
    similarity: float = DEFAULT_SIMILARITY,
) -> Rows:
    """Unite patches that look alike; return the first row of each one's group.

    Whoever looks like one member belongs to the group. The directions in which
    features are hashed are random, but always the same.

    Args:
        looks: What the patches look like.
        identical: Patches of one value are united whatever they look like.
        features: Of an encoder, `(patches, features)`; alike ones unite as well.
        similarity: Correlation of the weighted low frequencies from which two patches
            look alike, above 0 and up to 1.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(looks)
    pairs = [_find_alike(looks, similarity)]
    if identical is not None:
        pairs.append(_link_equal(identical))
    if features is not None:
        pairs.append(_find_alike_features(features))
    first, second = np.concatenate(pairs).T
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    _, groups = connected_components(links, directed=False)
    _, firsts = np.unique(groups, return_index=True)
    return np.asarray(firsts[groups], np.int64)


def _hash(low: npt.NDArray[np.float32]) -> Hashes:
    """Pack the signs of all frequencies but the mean."""
    bits = (low.reshape(len(low), _N * _N)[:, 1:] > 0).astype(np.uint64)
    return np.asarray(bits @ _PLACES, np.uint64)


_PLACES = np.uint64(1) << np.arange(_N_BITS, dtype=np.uint64)


def _list_views() -> tuple[View, ...]:
    """List the eight views: is it transposed, its signs, the bits that they flip."""
    views: list[View] = []
    for is_transposed, up, left in itertools.product((False, True), (1, -1), (1, -1)):
        signs = np.where(_ROWS % 2, up, 1) * np.where(_COLUMNS % 2, left, 1)
        flips = np.uint64((signs.reshape(-1)[1:] < 0).astype(np.uint64) @ _PLACES)
        views.append((is_transposed, signs.astype(np.float32).ravel(), flips))
    return tuple(views)


_VIEWS = _list_views()
_TRANSPOSED = np.arange(_N * _N).reshape(_N, _N).T.ravel()


def _find_alike(looks: Looks, similarity: float) -> Rows:
    """Find pairs of rows whose patches look alike in one of the eight views."""
    # Equal hashes first: copies are many, and each need be compared only once.
    same = _link_equal(looks.hashes[:, 0])
    found = [same[_compare(looks, same, _VIEWS[0], similarity)]]
    firsts = np.unique(same[:, 1])
    hashes = looks.hashes[firsts]
    for view in _VIEWS:
        is_transposed, _, flips = view
        queries = hashes[:, int(is_transposed)] ^ flips
        for pairs in _iter_candidates(queries, hashes[:, 0]):
            rows_of = firsts[pairs]
            found.append(rows_of[_compare(looks, rows_of, view, similarity)])
    return np.concatenate(found)


def _compare(
    looks: Looks,
    pairs: Rows,
    view: View,
    similarity: float,
) -> npt.NDArray[np.bool_]:
    """Tell which pairs look alike when the first of each is seen in a view."""
    is_alike = np.empty(len(pairs), bool)
    is_transposed, signs, _ = view
    for start in range(0, len(pairs), 1 << 16):
        part = pairs[start : start + (1 << 16)]
        first = looks.frequencies[part[:, 0]].astype(np.float32)
        second = looks.frequencies[part[:, 1]].astype(np.float32)
        if is_transposed:
            first = first[:, _TRANSPOSED]
        close = np.einsum("pf,pf,f->p", first, second, signs) >= similarity
        are_flat = ~(first.any(axis=1) | second.any(axis=1))
        is_alike[start : start + len(part)] = close | are_flat
    return is_alike


def _iter_candidates(queries: Hashes, hashes: Hashes) -> Iterator[Rows]:
    """Yield pairs (query, hash) with a band in common and few bits between them."""
    rest = np.uint64(_N_BITS - _BAND_BITS)
    for start in _BAND_STARTS:
        turned = _turn(hashes, start)
        order = np.argsort(turned, kind="stable")
        bands = turned[order] >> rest
        asked = _turn(queries, start)
        place = np.searchsorted(turned[order], asked)
        for first, step in ((place, 1), (place - 1, -1)):
            rows, positions = np.arange(len(queries)), first
            for _ in range(_WINDOW):
                is_there = (positions >= 0) & (positions < len(bands))
                rows, positions = rows[is_there], positions[is_there]
                has_band = bands[positions] == asked[rows] >> rest
                rows, positions = rows[has_band], positions[has_band]
                if not len(rows):
                    break
                pairs = np.stack([rows, order[positions]], axis=1)
                distance = np.bitwise_count(queries[rows] ^ hashes[pairs[:, 1]])
                yield pairs[(distance <= _MAX_DISTANCE) & (pairs[:, 0] != pairs[:, 1])]
                positions = positions + step


def _turn(hashes: Hashes, start: int) -> Hashes:
    """Turn the bits so that a band comes first when sorted."""
    up, down = np.uint64(start), np.uint64(_N_BITS - start)
    return ((hashes << up) & np.uint64(_ALL_BITS)) | (hashes >> down)


def _link_equal(values: npt.NDArray[np.generic]) -> Rows:
    """Link every row with the first one of the same value."""
    _, firsts, kinds = np.unique(values, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(values)), firsts[kinds]], axis=1)


def _find_alike_features(features: npt.NDArray[np.floating]) -> Rows:
    """Find pairs of rows with alike features, by hashes of random directions."""
    centred = np.asarray(features - features.mean(axis=0), np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(length > 0, length, 1)
    directions = np.random.default_rng(0).normal(size=(unit.shape[1], _N_BITS))
    hashes = (unit @ directions.astype(np.float32) > 0).astype(np.uint64) @ _PLACES
    found = [np.empty((0, 2), np.int64)]
    for pairs in _iter_candidates(hashes, hashes):
        closeness = np.einsum("pf,pf->p", unit[pairs[:, 0]], unit[pairs[:, 1]])
        found.append(pairs[closeness >= _FEATURE_SIMILARITY])
    return np.concatenate(found)
