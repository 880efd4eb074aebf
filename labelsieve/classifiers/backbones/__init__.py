"""What `train` can fine-tune: one kind of backbone per file.

A file of this room offers:

    FAMILY: str                                   how a person calls it
    claims(name) -> bool                          is the model of this name, or the classifier
                                                  in this folder, one of its own?
    recipe(name) -> str                           of `labelsieve.classifiers.recipe.RECIPES`
    build(name, classes, seed, device) -> Backbone      with a new head, drawn from the seed
    open_saved(folder, device) -> (Backbone, classes)   what `Backbone.save` wrote

`name` is what the user wrote. `claims` reads no weights, and nothing from the network for a local
folder. Each raises `ModelError` for a model that it knows and cannot open; what it reads may come
from a stranger, and satisfies `labelsieve.models.trust`. `Backbone`
(`labelsieve.classifiers.backbone`) says what a model must bring.
"""
