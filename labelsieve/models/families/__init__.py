"""Image-text models: one family per file.

A file of this room offers:

    FAMILY: str                                   how a person calls it
    claims(name) -> bool                          does it open the model of this name?
    preprocess_of(name) -> Preprocess             how the model wants its pictures
    load(name, device, dtype) -> DualEncoder      its towers, frozen

`name` is what the user wrote. `claims` and `preprocess_of` read no weights, and nothing from
the network for a local folder. Each raises `ModelError` for a model that it knows and cannot
open; where several families share a layout, `claims` may raise it for a folder that none of
them can read. `DualEncoder` (`labelsieve.models.encoder`) says what a model must be able to do.
"""
