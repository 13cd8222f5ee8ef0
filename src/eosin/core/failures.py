"""What is recorded of a slide that could not be worked on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SlideFailure:
    """One slide that a step gave up on; the others went on.

    Attributes:
        slide_id: The slide's id in its cohort.
        step: The command that gave up, such as `tile`.
        message: The error's text.
    """

    slide_id: str
    step: str
    message: str
