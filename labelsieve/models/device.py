"""Which device and which precision to compute with."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from labelsieve.errors import OptionError

# Names that --precision takes besides auto.
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose_device(wanted: str = "auto") -> torch.device:
    """Raises OptionError when the wanted device is not there."""
    if wanted == "auto":
        return _best_device()
    try:
        device = torch.device(wanted)
        # a device that torch knows by name may still be missing
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"--device '{wanted}' is not available here.",
            "Leave it out, and the best one that is here is taken.",
        ) from error
    return device


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    # Apple's processors
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type to compute in; `auto` is bfloat16 where that is faster than float32.

    Raises:
        OptionError: no such precision.
    """
    if wanted != "auto":
        if wanted not in PRECISIONS:
            raise OptionError(
                f"--precision '{wanted}' is unknown.",
                f"Use auto, {', '.join(PRECISIONS)}.",
            )
        return PRECISIONS[wanted]
    return torch.bfloat16 if _has_fast_bfloat16(device) else torch.float32


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # emulated, it is slower than float32
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_has_fast_bfloat16()


def _cpu_has_fast_bfloat16() -> bool:
    """AMX, or AVX512-BF16 of AMD."""
    if torch.cpu._is_amx_tile_supported():
        return True
    # Intel's AVX512-BF16 without AMX is half as fast as float32 (benchmarks/bench_step.py)
    return torch.cpu._is_avx512_bf16_supported() and "AuthenticAMD" in _cpu_maker()


def _cpu_maker() -> str:
    """Text with the maker's name in it; Windows has it in the processor's description."""
    cpus = Path("/proc/cpuinfo")  # of Linux
    return cpus.read_text(encoding="utf-8") if cpus.exists() else platform.processor()
