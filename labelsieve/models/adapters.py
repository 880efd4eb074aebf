"""Ways to adapt a frozen image tower with few parameters.

Wei et al. 2024 compare them in their appendix.

`vpt-deep` and `vpt-shallow` put learned tokens beside the image's (Jia et al., ECCV 2022);
the others change the tower's modules in place: LoRA (Hu et al., ICLR 2022; through peft but
where queries, keys and values are one matrix), a
bottleneck beside each MLP (AdaptFormer, Chen et al., NeurIPS 2022), scale and shift after
each operation (SSF, Lian et al., NeurIPS 2022), biases alone (BitFit, Ben Zaken et al., ACL
2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labelsieve import registry
from labelsieve.errors import OptionError, unknown
from labelsieve.models.encoder import DualEncoder

MOST_PROMPTS = 20  # as the paper has beside the 197 tokens of ViT-B/16
# Maps to queries and values, as families call them: CLIP and SigLIP; BERT, RoBERTa and ViT;
# DistilBERT; MPNet.
LORA_TARGETS = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "q", "v")
ADAPTED = 0.1  # what the bottleneck's answer is multiplied by, as in AdaptFormer


@dataclass
class Tuning:
    """What of an image tower learns.

    Attributes:
        parameters: name -> parameter, float32.
        prompts: prompt tokens to hand to the tower, [blocks or 1, p, image_width]; None
            where modules were changed instead.
    """

    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    prompts: nn.Parameter | None = None

    def tokens(self) -> list[Tensor] | None:
        """Prompt tokens per block, [p, image_width] each."""
        return None if self.prompts is None else list(self.prompts)


def build(
    kind: str, encoder: DualEncoder, size: int, generator: torch.Generator
) -> Tuning:
    """Prepare an image tower for tuning.

    Args:
        kind: a name of `KINDS`.
        size: prompt tokens (vpt), rank (lora) or bottleneck width (adapter); the others
            have no size.

    Raises:
        OptionError: unknown kind.
    """
    if kind not in KINDS:
        raise OptionError(unknown("--tuning", kind, KINDS))
    return KINDS[kind](encoder, size, generator)


def fitting_size(encoder: DualEncoder) -> int:
    """A size that follows the tower: a quarter of its image tokens, at most the paper's.

    Twenty prompts beside a small tower's 65 tokens drown the picture.
    """
    return max(1, min(MOST_PROMPTS, encoder.image_tokens // 4))


def _vpt(
    blocks: Callable[[DualEncoder], int],
) -> Callable[[DualEncoder, int, torch.Generator], Tuning]:
    def prepare(encoder: DualEncoder, size: int, generator: torch.Generator) -> Tuning:
        """Uniform start in ±sqrt(6 / (3 patch² + width)), as in VPT's code."""
        bound = math.sqrt(6 / (3 * encoder.patch_size**2 + encoder.image_width))
        shape = (blocks(encoder), size, encoder.image_width)
        # drawn on the CPU, so that every device begins with the same numbers
        drawn = (2 * torch.rand(shape, generator=generator) - 1) * bound
        prompts = nn.Parameter(drawn.to(encoder.device))
        return Tuning({"visual_prompts": prompts}, prompts)

    return prepare


def _none(encoder: DualEncoder, size: int, generator: torch.Generator) -> Tuning:
    return Tuning()


def _lora(encoder: DualEncoder, size: int, generator: torch.Generator) -> Tuning:
    """Rank `size` on query and value projections."""
    put_lora(encoder.image_tower, size, generator)
    return _collect(encoder, "lora_")


def put_lora(model: nn.Module, size: int, generator: torch.Generator) -> None:
    """Put LoRA of rank `size` beside all maps to queries and values, in place.

    Where one matrix holds them with the keys (timm, torchvision, open_clip's own towers), beside
    all of it.

    Raises:
        OptionError: the model has none that are known by their names.
        MissingExtra: the extra `lora` is not installed.
    """
    fused = _fused(model)
    inside = {id(module) for module, _ in fused}
    targets = [
        name
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in LORA_TARGETS and id(module) not in inside
    ]
    if not targets and not fused:
        raise OptionError(
            f"{type(model).__name__} has no queries and values that LoRA could stand beside.",
            "Use --set tune=all or tune=head.",
        )
    for module, tensor in fused:
        weight = getattr(module, tensor)
        change = _LowRank(weight, size, generator).to(weight.device)
        parametrize.register_parametrization(module, tensor, change)
    if targets:
        _put_beside(model, targets, size, generator)


def _put_beside(
    model: nn.Module, targets: list[str], size: int, generator: torch.Generator
) -> None:
    """LoRA beside linear maps that have their own names: peft's."""
    peft = registry.need("peft")
    # peft draws from torch's global generator: set for it, and put back
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        # scaled by alpha / rank = 2 whatever the rank, so that one learning rate fits all
        config = peft.LoraConfig(r=size, lora_alpha=2 * size, target_modules=targets)
        peft.inject_adapter_in_model(config, model)


class _LowRank(nn.Module):
    """W + 2 B A for a matrix that is read, and not called: torch's attention has it in one piece,
    and towers such as BEiT's take their map's weight apart from it.
    """

    def __init__(self, weight: Tensor, size: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        # uniform in ±1/sqrt(columns), as peft begins
        down = (2 * torch.rand(size, columns, generator=generator) - 1) / math.sqrt(
            columns
        )
        self.lora_down = nn.Parameter(down)
        # zero: the first answer is the model's own
        self.lora_up = nn.Parameter(torch.zeros(rows, size))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (2 * self.lora_up @ self.lora_down).to(weight.dtype)


def _fused(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Matrices that LoRA is added to where they lie, as (module, name of the tensor)."""
    found = []
    for name, module in model.named_modules():
        parts = name.split(".")
        last = parts[-1]
        if isinstance(getattr(module, "in_proj_weight", None), nn.Parameter):
            found.append((module, "in_proj_weight"))
        # the pooling of CLIP's ResNets hands the weights of its maps on
        read = last == "qkv" or ("attnpool" in parts and last in LORA_TARGETS)
        if isinstance(module, nn.Linear) and read:
            found.append((module, "weight"))
    return found


def without_lora(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model as they are without LoRA: added up, under their plain names."""
    # copies: what is added up here is not added to the model
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, module, tensor_name in _with_low_rank(model):
        mark = f"{name}.parametrizations.{tensor_name}."
        state = {key: kept for key, kept in state.items() if not key.startswith(mark)}
        added = getattr(module, tensor_name).detach().clone()
        state[f"{name}.{tensor_name}"] = added
    for name, module in _with_lora(model):
        # the layer under LoRA has its old name back, LoRA's own tensors are left out
        for key in [key for key in state if key.startswith(f"{name}.")]:
            inner = key.removeprefix(f"{name}.")
            tensor = state.pop(key)
            if inner.startswith("base_layer."):
                state[f"{name}.{inner.removeprefix('base_layer.')}"] = tensor
        state[f"{name}.weight"] += module.get_delta_weight("default").detach()
    return state


def take_lora(model: nn.Module) -> None:
    """Add LoRA up and take it out, in place: the same answers from an ordinary model."""
    state = without_lora(model)
    for name, module in _with_lora(model):
        model.set_submodule(name, module.base_layer)
    for _, module, tensor in _with_low_rank(model):
        parametrize.remove_parametrizations(module, tensor)
    model.load_state_dict(state)


def _with_low_rank(model: nn.Module) -> list[tuple[str, Any, str]]:
    """Name, module and name of the tensor of all that has a `_LowRank`."""
    found = []
    for name, module in model.named_modules():
        for tensor, chain in getattr(module, "parametrizations", {}).items():
            if any(isinstance(change, _LowRank) for change in chain):
                found.append((name, module, tensor))
    return found


def _with_lora(model: nn.Module) -> list[tuple[str, Any]]:
    return [(n, m) for n, m in model.named_modules() if hasattr(m, "get_delta_weight")]


class _Bottleneck(nn.Module):
    """MLP(x) + ADAPTED · up(relu(down(x))): starts as the MLP it replaces."""

    def __init__(
        self, mlp: nn.Module, width: int, size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.mlp = mlp
        down = torch.randn(size, width, generator=generator) / math.sqrt(width)
        self.adapter_down = nn.Parameter(down)
        # zero: the first answer is the MLP's own
        self.adapter_up = nn.Parameter(torch.zeros(width, size))

    def forward(self, x: Tensor) -> Tensor:
        # masters are float32, the tower may compute in bfloat16
        down, up = self.adapter_down.to(x.dtype), self.adapter_up.to(x.dtype)
        return self.mlp(x) + ADAPTED * (torch.relu(x @ down.T) @ up.T)


def _adapter(encoder: DualEncoder, size: int, generator: torch.Generator) -> Tuning:
    for layer in encoder.image_layers:
        holder: Any = layer
        beside = _Bottleneck(holder.mlp, encoder.image_width, size, generator)
        holder.mlp = beside.to(encoder.device)
    return _collect(encoder, "adapter_")


class _ScaleShift(nn.Module):
    """γ · f(x) + β, starting as f."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.ssf_scale = nn.Parameter(torch.ones(width))
        self.ssf_shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.ssf_scale.to(x.dtype) + self.ssf_shift.to(x.dtype)


def _ssf(encoder: DualEncoder, size: int, generator: torch.Generator) -> Tuning:
    _wrap(encoder, _ScaleShift)
    return _collect(encoder, "ssf_")


class _Shift(nn.Module):
    """f(x) + δ: a bias that can be learned in float32 while f computes in bfloat16."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.bias_change = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.bias_change.to(x.dtype)


def _bias(encoder: DualEncoder, size: int, generator: torch.Generator) -> Tuning:
    _wrap(encoder, _Shift)
    return _collect(encoder, "bias_change")


def _wrap(encoder: DualEncoder, wrapper: Callable[[nn.Module, int], nn.Module]) -> None:
    """Put a wrapper around every linear map and norm of every block."""
    for layer in encoder.image_layers:
        # a list, since the modules change while they are walked through
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.Linear):
                width = module.out_features
            elif isinstance(module, nn.LayerNorm):
                width = module.normalized_shape[0]
            else:
                continue
            layer.set_submodule(name, wrapper(module, width).to(encoder.device))


def _collect(encoder: DualEncoder, mark: str) -> Tuning:
    """The parameters with `mark` in their name, switched on."""
    parameters = {}
    for name, parameter in encoder.image_tower.named_parameters():
        if mark in name:
            # in a bfloat16 tower, too: steps are too small for bfloat16
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
            parameters[name] = parameter
    return Tuning(parameters)


BESIDE = ("vpt-deep", "vpt-shallow", "none")  # these leave the tower as it is
KINDS: dict[str, Callable[[DualEncoder, int, torch.Generator], Tuning]] = {
    "vpt-deep": _vpt(lambda encoder: len(encoder.image_layers)),
    "vpt-shallow": _vpt(lambda encoder: 1),
    "lora": _lora,
    "adapter": _adapter,
    "ssf": _ssf,
    "bias": _bias,
    "none": _none,
}
