"""Ways to tune a tower: each starts as the tower it found, learns alone, and computes what
its formula says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from labelsieve.errors import OptionError
from labelsieve.models import adapters
from labelsieve.models.load import load_encoder

CHANGING = ("lora", "adapter", "ssf", "bias")
FAMILIES = ("clip", "siglip")


@pytest.fixture(scope="module")
def folders(
    random_clip: Callable[..., Path], random_siglip: Callable[..., Path]
) -> dict[str, Path]:
    return {"clip": random_clip(), "siglip": random_siglip()}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(3, 3, 16, 16, generator=generator(8)).to(dtype)


def features(encoder: Any, tuned: adapters.Tuning) -> torch.Tensor:
    return encoder.image_features(pixels(encoder.dtype), tuned.tokens())


def disturb(tuned: adapters.Tuning) -> None:
    """Move every parameter from its start, so that all of them take part."""
    with torch.no_grad():
        for number, parameter in enumerate(tuned.parameters.values()):
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=generator(100 + number))
            )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [*CHANGING, "none"])
def test_the_tower_is_unchanged_at_the_start(
    folders: dict[str, Path], family: str, kind: str, distance: Any
) -> None:
    encoder = load_encoder(str(folders[family]))
    before = encoder.image_features(pixels())
    tuned = adapters.build(kind, encoder, 3, generator())
    assert tuned.tokens() is None
    assert distance(features(encoder, tuned), before) < 1e-6
    assert bool(tuned.parameters) == (kind != "none")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [k for k in adapters.KINDS if k != "none"])
def test_what_is_tuned_learns_and_nothing_else(
    folders: dict[str, Path], family: str, kind: str
) -> None:
    """After the first step every parameter has a gradient, and the checkpoint's own
    weights are what they were.
    """
    encoder = load_encoder(str(folders[family]))
    own = {n: (p, p.detach().clone()) for n, p in encoder.model.named_parameters()}
    tuned = adapters.build(kind, encoder, 3, generator())
    disturb(tuned)
    before = features(encoder, tuned)
    optimizer = torch.optim.SGD(tuned.parameters.values(), lr=0.1)
    (before @ torch.randn(before.shape[1], generator=generator(5))).sum().backward()
    quiet = {
        n
        for n, p in tuned.parameters.items()
        if p.grad is None or not p.grad.abs().max() > 1e-7
    }
    # A shift of all keys alike adds the same to all scores of a query; scales and norms
    # beside it do count.
    assert all("k_proj" in n and ("bias" in n or "shift" in n) for n in quiet), quiet
    optimizer.step()
    assert not torch.equal(features(encoder, tuned), before)
    assert all(p.grad is None and torch.equal(p, value) for p, value in own.values())
    trainable = {id(p) for p in encoder.model.parameters() if p.requires_grad}
    assert trainable <= {id(p) for p in tuned.parameters.values()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", list(adapters.KINDS))
def test_masters_are_float32_in_a_lower_precision_tower(
    folders: dict[str, Path], family: str, kind: str, distance: Any
) -> None:
    """A step far below the precision of bfloat16 is not lost, and the tower still computes
    in bfloat16.
    """
    encoder = load_encoder(str(folders[family]), dtype=torch.bfloat16)
    tuned = adapters.build(kind, encoder, 3, generator())
    disturb(tuned)
    found = features(encoder, tuned)
    assert found.dtype == torch.float32
    own = [p for p in encoder.image_tower.parameters() if not p.requires_grad]
    assert own and all(p.dtype == torch.bfloat16 for p in own)
    exact = load_encoder(str(folders[family]))
    beside = adapters.build(kind, exact, 3, generator())
    disturb(beside)
    assert distance(found, features(exact, beside)) < 0.05
    if kind == "none":
        return
    found.square().sum().backward()
    found_again = features(encoder, tuned)
    (
        found_again @ torch.randn(found_again.shape[1], generator=generator(5))
    ).sum().backward()
    for parameter in tuned.parameters.values():
        assert parameter.dtype == torch.float32
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(1e-5 * before.abs().max())
        assert not torch.equal(parameter, before)
    assert any(
        p.grad is not None and p.grad.dtype == torch.float32 and p.grad.abs().max() > 0
        for p in tuned.parameters.values()
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kind", "blocks"), [("vpt-deep", 2), ("vpt-shallow", 1)])
def test_visual_prompts(
    folders: dict[str, Path], family: str, kind: str, blocks: int
) -> None:
    """Uniform in ±sqrt(6 / (3 patch² + width)), one set per block or one in all."""
    encoder = load_encoder(str(folders[family]))
    tuned = adapters.build(kind, encoder, 400, generator())
    assert tuned.parameters["visual_prompts"] is tuned.prompts
    prompts = tuned.parameters["visual_prompts"].detach()
    assert prompts.shape == (blocks, 400, encoder.image_width)
    bound = math.sqrt(6 / (3 * 4**2 + encoder.image_width))
    assert (
        float(prompts.abs().max()) <= bound
        and float(prompts.abs().max()) > 0.99 * bound
    )
    assert abs(float(prompts.mean())) < 0.02 * bound
    assert float(prompts.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    tokens = tuned.tokens()
    assert tokens is not None and len(tokens) == blocks


@pytest.mark.parametrize(
    "kind", [k for k in adapters.KINDS if k not in ("none", "ssf", "bias")]
)
def test_the_generator_decides_the_start(folders: dict[str, Path], kind: str) -> None:
    state = torch.random.get_rng_state()
    starts = [
        adapters.build(
            kind, load_encoder(str(folders["clip"])), 3, generator(seed)
        ).parameters
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(starts[0][n], starts[1][n]) for n in starts[0])
    assert any(not torch.equal(starts[0][n], starts[2][n]) for n in starts[0])
    assert torch.equal(state, torch.random.get_rng_state()), (
        "the global generator was used"
    )


def blocks_of(clip: Any) -> Any:
    return clip.model.vision_model.encoder.layers


class TestFormulas:
    """Each kind with random parameters against a plain CLIP whose weights were changed by hand."""

    @pytest.fixture
    def changed(
        self, folders: dict[str, Path], naive_clip: Any
    ) -> Callable[..., tuple[Any, Any, dict[str, torch.Tensor]]]:
        def make(kind: str, size: int) -> tuple[Any, Any, dict[str, torch.Tensor]]:
            encoder = load_encoder(str(folders["clip"]))
            tuned = adapters.build(kind, encoder, size, generator())
            disturb(tuned)
            return (
                features(encoder, tuned),
                naive_clip(folders["clip"]),
                {n: p.detach() for n, p in tuned.parameters.items()},
            )

        return make

    def test_bias(self, changed: Any, distance: Any) -> None:
        found, clip, learned = changed("bias", 1)
        for name, change in learned.items():
            path = name.removesuffix(".bias_change")
            clip.model.vision_model.get_submodule(path).bias.add_(change)
        assert (
            len(learned) == 2 * 8
        )  # four projections, two maps of the MLP and two norms in each block
        assert distance(found, clip.images(pixels())) < 1e-5

    def test_scale_and_shift(self, changed: Any, distance: Any) -> None:
        found, clip, learned = changed("ssf", 1)
        for name, scale in learned.items():
            if name.endswith(".ssf_scale"):
                module = clip.model.vision_model.get_submodule(
                    name.removesuffix(".ssf_scale")
                )
                shift = learned[name.replace("ssf_scale", "ssf_shift")]
                module.weight.mul_(scale[:, None] if module.weight.ndim == 2 else scale)
                module.bias.mul_(scale).add_(shift)
        assert len(learned) == 2 * 2 * 8
        assert distance(found, clip.images(pixels())) < 1e-5

    @pytest.mark.parametrize("rank", [1, 4])
    def test_lora(self, changed: Any, distance: Any, rank: int) -> None:
        """Queries and values get W + 2 B A, whatever the rank (alpha is twice the rank)."""
        found, clip, learned = changed("lora", rank)
        for name, down in learned.items():
            if ".lora_A." in name:
                up = learned[name.replace(".lora_A.", ".lora_B.")]
                assert down.shape[0] == rank
                clip.model.vision_model.get_submodule(
                    name.partition(".lora_A.")[0]
                ).weight.add_(2 * up @ down)
        assert {n.partition(".lora_")[0].rpartition(".")[2] for n in learned} == {
            "q_proj",
            "v_proj",
        }
        assert distance(found, clip.images(pixels())) < 1e-5

    def test_adapter(self, changed: Any, distance: Any) -> None:
        """Beside each MLP a tenth of up(relu(down(x)))."""
        found, clip, learned = changed("adapter", 3)
        names = [
            n.removesuffix("adapter_down")
            for n in learned
            if n.endswith("adapter_down")
        ]
        for name, layer in zip(names, blocks_of(clip), strict=True):
            down, up = learned[f"{name}adapter_down"], learned[f"{name}adapter_up"]
            assert down.shape == (3, 32) and up.shape == (32, 3)
            layer.mlp.register_forward_hook(
                lambda _, args, out, down=down, up=up: (
                    out + 0.1 * (args[0] @ down.T).clamp(min=0) @ up.T
                )
            )
        assert distance(found, clip.images(pixels())) < 1e-5


def test_an_unknown_kind_names_the_nearest(folders: dict[str, Path]) -> None:
    with pytest.raises(
        OptionError,
        match=r"--tuning 'vpt-dep' is unknown; there are: .*Did you mean 'vpt-deep'",
    ):
        adapters.build("vpt-dep", load_encoder(str(folders["clip"])), 3, generator())


class Fused(torch.nn.Module):
    """Queries, keys and values in one matrix, as torchvision, timm and its BEiT have them."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        self.qkv = torch.nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(x, x, x, need_weights=False)[0]
        # BEiT takes the weight alone: a module that is put around the map would do nothing
        return x + torch.nn.functional.linear(x, self.qkv.weight)[..., 16:32]


class TestLoraOnFusedMatrices:
    """The plain path at the start, the formula afterwards, an ordinary model at the end."""

    @pytest.fixture
    def model(self) -> torch.nn.Module:
        torch.manual_seed(0)  # of layers that draw for themselves
        return torch.nn.Sequential(Fused(), Fused()).eval()

    def test_starts_learns_and_is_added_up(self, model: torch.nn.Module) -> None:
        x = torch.randn(2, 5, 16, generator=generator())
        before = {n: t.clone() for n, t in model.state_dict().items()}
        plain = model(x)
        adapters.put_lora(model, 2, generator())
        assert torch.equal(model(x), plain)
        learned = {n: p for n, p in model.named_parameters() if ".lora_" in n}
        assert len(learned) == 2 * 2 * 2
        disturb(adapters.Tuning(learned))
        tuned = model(x)
        gradients = torch.autograd.grad(tuned.square().sum(), list(learned.values()))
        assert min(float(g.abs().max()) for g in gradients) > 0
        expected = dict(before)
        for name, down in learned.items():
            if name.endswith("lora_down"):
                up = learned[name.replace("lora_down", "lora_up")]
                own = name.replace("parametrizations.", "").partition(".0.lora")[0]
                expected[own] = before[own] + 2 * up @ down
        found = adapters.without_lora(model)
        assert found.keys() == before.keys()
        assert all(torch.allclose(found[n], expected[n]) for n in found)
        adapters.take_lora(model)
        assert model.state_dict().keys() == before.keys()
        assert torch.allclose(model(x), tuned, atol=1e-6)
        assert not torch.allclose(plain, tuned, atol=1e-2)

    def test_the_pooling_of_clip_s_resnets_hands_weights_on(self) -> None:
        model = torch.nn.Module()
        model.attnpool = torch.nn.Module()
        model.attnpool.q_proj = torch.nn.Linear(4, 4)
        adapters.put_lora(model, 2, generator())
        names = [n for n, _ in model.named_parameters() if "lora_" in n]
        assert names and all("q_proj.parametrizations.weight" in n for n in names)
