"""Slides: one face for every file that can be read like one."""

from eosin.slides.opening import open_slide
from eosin.slides.phantom import Artefact, Phantom, make_phantom
from eosin.slides.pyramid_writing import write_pyramid
from eosin.slides.resolution import Resolution, is_plausible_mpp, resolve_mpp
from eosin.slides.slide import Level, Slide

__all__ = [
    "Artefact",
    "Level",
    "Phantom",
    "Resolution",
    "Slide",
    "is_plausible_mpp",
    "make_phantom",
    "open_slide",
    "resolve_mpp",
    "write_pyramid",
]
