"""Made sets of patches."""

import cv2
import numpy as np

PX = 32


def paint(seed, label=0, px=PX):
    """Paint a patch: nuclei on stroma, many of them where the label is 1."""
    rng = np.random.default_rng(seed)
    image = np.full((px, px, 3), (225, 190, 215), np.uint8)
    for x, y in rng.integers(0, px, (20 if label else 5, 2)).tolist():
        cv2.circle(image, (x, y), 3, (110, 60, 130), -1)
    noise = rng.integers(-12, 13, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def save(path, pixels):
    """Write `(height, width, 3)` pixels, RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1])


def make_kaggle(root, train, test=()):
    """Write patches in Kaggle's layout; of `train` every second is a tumour."""
    lines = ["id,label"]
    for i, pixels in enumerate(train):
        save(root / "train" / f"p{i:03d}.tif", pixels)
        lines.append(f"p{i:03d},{i % 2}")
    for i, pixels in enumerate(test):
        save(root / "test" / f"q{i}.tif", pixels)
    (root / "train_labels.csv").write_text("\n".join(lines))
    return root


def make_classes(root, numbers):
    """Write painted patches in folders called normal and tumor, each by its number."""
    for i in numbers:
        save(root / ("tumor" if i % 2 else "normal") / f"{i}.png", paint(i, i % 2))
    return root
