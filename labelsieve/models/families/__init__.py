"""Image-text models: one family per file.

A file of this room offers:

    FAMILY: str                                   how a person calls it
    claims(name) -> bool                          does it open the model of this name?
    preprocess_of(name) -> Preprocess             how the model wants its pictures
    operations(name) -> float                     of one picture in the image tower
    load(name, device, dtype) -> DualEncoder      its towers, frozen
    NAMES: tuple[str, ...]                        optional: models inside the package
    MODALITY: str                                 optional: the items it takes, "images" if absent

`name` is what the user wrote. All but `load` read no weights, and
nothing from the network for a local folder. Each raises `ModelError` for a model that it knows
and cannot open; where several families share a layout, `claims` may raise it for a folder that
none of them can read. `operations` counts floating-point operations, 0 where they are not known
(`labelsieve.models.blocks.operations`). `DualEncoder` (`labelsieve.models.encoder`) says what a
model must be able to do.
"""
