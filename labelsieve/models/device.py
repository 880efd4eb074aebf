"""Which device and which precision to compute with."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from labelsieve.errors import OptionError

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose_device(wanted: str = "auto") -> torch.device:
    """Raises OptionError when the wanted device is not there."""
    if wanted == "auto":
        return torch.device(
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"--device '{wanted}' is not available here.",
            "Use cpu, cuda, cuda:0, … or leave it out.",
        ) from error
    return device


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor or card multiplies it faster than float32,
    else float32.
    """
    if wanted != "auto":
        if wanted not in PRECISIONS:
            raise OptionError(
                f"--precision '{wanted}' is unknown.",
                f"Use auto, {', '.join(PRECISIONS)}.",
            )
        return PRECISIONS[wanted]
    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    return (
        torch.bfloat16
        if device.type == "cpu" and _cpu_has_fast_bfloat16()
        else torch.float32
    )


def _cpu_has_fast_bfloat16() -> bool:
    """AMX, or AVX512-BF16 of AMD. Intel's without AMX is no faster than float32 (half as
    fast, benchmarks/bench_step.py).
    """
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "AuthenticAMD" in _cpu_maker()


def _cpu_maker() -> str:
    """Text with the maker's name in it; Windows has it in the processor's description."""
    cpus = Path("/proc/cpuinfo")
    return cpus.read_text() if cpus.exists() else platform.processor()
