"""Sentences around a name, from two words to fifty.

Learned prompts put sixteen vectors before the class name. A text tower that only ever read "a
photo of a cat." has never used the positions where the name then stands, so captions of every
length are part of training.
"""

from __future__ import annotations

import numpy as np

SHORT = (
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "{}.",
    "{}",
    "a {}.",
    "the {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "a blurry photo of a {}.",
    "a small photo of a {}.",
    "a bad photo of a {}.",
    "a good photo of a {}.",
    "a cropped photo of the {}.",
    "a close-up photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of a {}.",
    "a low resolution photo of a {}.",
    "itap of a {}.",
    "a photo of one {}.",
    "a photo of my {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "this is a {}.",
    "here is a {}.",
    "there is a {} in the picture.",
    "a snapshot of a {}.",
    "a thumbnail of a {}.",
    "an old photo of a {}.",
    "a pixelated photo of a {}.",
    "a jpeg corrupted photo of a {}.",
    "a drawing of a {}.",
    "a rendering of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a type of {}.",
)

LEAD = (
    "this picture was taken on a cold morning in the north",
    "somebody found this image in an old album",
    "taken from far away",
    "shot with a cheap camera",
    "here we look at one of many small pictures",
    "the light was poor that day",
    "seen from the side",
    "the picture is only thirty two pixels wide",
    "the photographer came back after lunch",
    "nobody remembers where it was made",
    "from a large collection of labelled images",
    "the camera was held by hand",
    "in the middle of the frame",
    "in the foreground",
    "behind the glass of a museum",
    "after a long walk through the town",
    "on a sunny afternoon in late summer",
    "an example for students",
    "it had rained all night and the ground was still wet",
    "this one is a little out of focus",
    "the colours are faded",
    "from the front page of a newspaper",
    "we asked ten people what they see",
    "for the record",
    "sent by a friend last week",
    "one of the pictures that everybody likes",
    "the background was removed",
    "part of a test of human eyesight",
    "cut out by hand",
    "in a quiet corner of the garden",
    "the sky is grey",
    "against a plain wall",
    "at the edge of the road",
    "without any text",
    "printed on a postcard",
    "number nine in the series",
    "the label below the frame has been lost",
    "made for a school book",
    "two people looked at it and agreed",
    "it is hard to say how big it is",
    "downloaded from the web",
    "not edited in any way",
)

LINK = (
    "it shows a {}.",
    "we see a {}.",
    "you can see a {} here.",
    "the subject is a {}.",
    "it is a {}.",
    "what you see is a {}.",
    "a {}.",
    "the thing in it is called {}.",
    "there is a {}.",
    "most people would call it a {}.",
    "clearly a {}.",
    "a photo of a {}.",
    "{}.",
)

TAIL = (
    "the picture is sharp.",
    "nothing else is in it.",
    "it was resized later.",
    "the rest is background.",
    "we like it.",
    "it is in colour.",
    "the original is lost.",
    "look closely.",
    "a fine example.",
    "it fills most of the frame.",
)


def write(
    name: str,
    rng: np.random.Generator,
    *,
    long: bool,
    templates: tuple[str, ...] = SHORT,
) -> str:
    """One caption that names `name`: a short template, or one to four clauses before it and
    sometimes one after."""
    if not long:
        return templates[rng.integers(len(templates))].format(name)
    lead = [
        LEAD[i] for i in rng.choice(len(LEAD), size=rng.integers(1, 5), replace=False)
    ]
    joint = (", ", ". ", " and ")[rng.integers(3)]
    text = (
        joint.join(lead)
        + (", ", ". ", ": ")[rng.integers(3)]
        + LINK[rng.integers(len(LINK))].format(name)
    )
    return text + (" " + TAIL[rng.integers(len(TAIL))] if rng.random() < 0.3 else "")
