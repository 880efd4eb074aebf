"""Opening an image-text model by name, whichever library its family comes from."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
import urllib.request
from types import ModuleType

import torch

from labelsieve import progress, registry
from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models import hugging_face, identity, trust
from labelsieve.models.encoder import DualEncoder

ROOM = "models/families"  # of the registry
DEMO = "tiny"  # inside the package
DEMO_SIDE = 64  # pixels up to which pictures lose nothing that matters at its 32
PHOTOS = "openai/clip-vit-base-patch16"  # what is taken for larger ones
WORDS = "hashing"  # for texts, inside the package
READER = "sentence-transformers/all-MiniLM-L6-v2"  # what is taken for texts
# Models that were tried: name, number of weights and what each is for.
RECOMMENDED = (
    (
        "tiny",
        "4 M",
        "embedded; 32 x 32 pixels; digits and small pictures, no network needed",
    ),
    ("openai/clip-vit-base-patch16", "150 M", "the paper's model; everyday photos"),
    ("openai/clip-vit-large-patch14", "428 M", "better and about four times slower"),
    (
        "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
        "150 M",
        "as the first one, trained on open data",
    ),
    ("facebook/metaclip-b16-fullcc2.5b", "150 M", "as the first one, curated web data"),
    ("google/siglip-base-patch16-224", "203 M", "sigmoid loss; often better zero-shot"),
    (
        "google/siglip2-base-patch16-224",
        "375 M",
        "many languages; class names need not be English",
    ),
    (
        "hashing",
        "0",
        "texts; embedded, compares words and knows no meanings; no network needed",
    ),
    (
        "sentence-transformers/all-MiniLM-L6-v2",
        "23 M",
        "texts in English; Apache-2.0",
    ),
    (
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "118 M",
        "texts in 50 languages; Apache-2.0",
    ),
)


def load_encoder(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> DualEncoder:
    """Load an image-text model: "tiny", a Hugging Face directory, or a hub id.

    Raises:
        ModelError: not found, not readable, of no family in the room, or with weights that
            give no numbers.
    """
    family = family_of(name)
    with hugging_face.one_line(name):
        # before it is read: files that are replaced meanwhile are seen to be others later
        origin = identity.origin_of(name)
        encoder: DualEncoder = family.load(name, torch.device(device), dtype)
        encoder.name, encoder.origin = name, origin
        _try_out(encoder)
    return encoder


def _try_out(encoder: DualEncoder) -> None:
    """One plain picture and one text: sizes that do not fit, or no numbers, are noticed here.

    Later they would end a scan in the middle, or be cached as features.
    """
    with torch.no_grad():
        # through everything that a scan uses: preparation, towers, projections
        features = [encoder.image_features(encoder.normalise(encoder.blank()))]
        if encoder.tokenizer is not None:
            features.append(encoder.text_features(["a"]))
    # an exponential of a weight: a large one is infinite
    scale = torch.tensor(encoder.logit_scale)
    # features of no number are all finite
    if not all(values.numel() for values in features):
        raise trust.refusal(encoder.name, "its features have no numbers")
    if not all(bool(values.isfinite().all()) for values in [*features, scale]):
        raise trust.refusal(
            encoder.name, "it gives no finite numbers for a gray picture"
        )


def ready(name: str, small: str = DEMO) -> None:
    """See to it that a model of the hub is on this machine, or that a download is announced.

    Args:
        small: the model that needs no download; "" where there is none for such items.

    Raises:
        ModelError: it is not here, and the hub is switched off.
    """
    from huggingface_hub import constants

    if is_here(name):
        return
    if constants.is_offline_mode() or not _reachable(constants.ENDPOINT):
        instead = f"With --model {small} the demo model runs." if small else ""
        raise hugging_face.not_here(name, instead)
    size = next((size for known, size, _ in RECOMMENDED if known == name), "")
    # weights are stored with four bytes each
    megabytes = 4 * int(size.split()[0]) if size else 0
    instead = ""
    if small:
        suits = f"suits pictures up to {DEMO_SIDE} pixels"
        instead = f"; --model {small} needs no download and {suits}"
    progress.note(
        f"{name} ({size} weights) is downloaded once, about {megabytes} MB{instead}."
    )


def is_here(name: str) -> bool:
    """Whether a model of the hub was downloaded before."""
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache(name, "config.json")
    return isinstance(found, str)


def _reachable(address: str) -> bool:
    """Whether a server answers; its own client would try for half a minute before it says no."""
    # behind a proxy only the proxy can be asked
    if urllib.request.getproxies():
        return True
    host = urllib.parse.urlsplit(address).hostname
    with contextlib.suppress(OSError), socket.create_connection((host, 443), timeout=5):
        return True
    return False


def preprocess_of(name: str) -> Preprocess:
    """How a model wants its pictures, without loading its weights.

    Raises:
        ModelError: as `load_encoder`.
    """
    with hugging_face.one_line(name):
        preprocess: Preprocess = family_of(name).preprocess_of(name)
    return preprocess


def operations_of(name: str) -> float:
    """Floating-point operations of one picture in a model's image tower; 0: not known.

    Raises:
        ModelError: as `load_encoder`.
    """
    with hugging_face.one_line(name):
        return float(family_of(name).operations(name))


def is_encoder(name: str) -> bool:
    """Whether a family claims the model of this name.

    Raises:
        ModelError: there is no such model.
    """
    return claimant(ROOM, name) is not None


def family_of(name: str) -> ModuleType:
    """The file of the room that opens a model.

    Raises:
        ModelError: there is no such model, or no family opens it.
    """
    family = claimant(ROOM, name)
    if family is not None:
        return family
    supported = ", ".join(family.FAMILY for family in _plugins(ROOM))
    kind = hugging_face.read_config(name).model_type
    raise ModelError(
        f"Model '{name}' is of family '{kind}', which is not supported.",
        f"Supported: {supported}.",
    )


def claimant(room: str, name: str) -> ModuleType | None:
    """The first plug-in of a room that claims a model; None where all say no.

    A name may be nothing to one library and a model to the next, so that one of them fails to
    read it counts only if no other claims it.

    Raises:
        ModelError: there is no such model.
    """
    failure: ModelError | None = None
    plugins = _plugins(room)
    for plugin in plugins:
        # before others ask the hub for it
        if name in getattr(plugin, "NAMES", ()):
            return plugin
    for plugin in plugins:
        try:
            if plugin.claims(name):
                return plugin
        except ModelError as error:
            failure = failure or error  # the first says most: they are in order
    if failure is not None:
        raise failure
    return None


def _plugins(room: str) -> list[ModuleType]:
    return [registry.load(room, name) for name in registry.names(room)]
