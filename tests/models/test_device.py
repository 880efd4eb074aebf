"""Which device and which precision: what is there, and what is fast."""

from __future__ import annotations

import pytest
import torch

from labelsieve.errors import OptionError
from labelsieve.models import device
from labelsieve.models.device import choose_device, choose_precision


class TestDevice:
    def test_auto_is_one_that_is_there(self) -> None:
        device = choose_device()
        assert float(torch.ones(1, device=device).sum()) == 1
        if not torch.cuda.is_available() and not torch.backends.mps.is_available():
            assert device.type == "cpu"

    def test_the_one_wanted(self) -> None:
        assert choose_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("wanted", ["abacus", "cuda:99", "cpu:x", ""])
    def test_one_that_is_not_there(self, wanted: str) -> None:
        with pytest.raises(
            OptionError,
            match=f"--device '{wanted}' is not available here. Leave it out",
        ):
            choose_device(wanted)


class TestPrecision:
    @pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
    def test_the_one_wanted(self, name: str) -> None:
        assert choose_precision(name, torch.device("cpu")) == getattr(torch, name)

    def test_one_that_is_unknown(self) -> None:
        with pytest.raises(
            OptionError,
            match=r"--precision 'double' is unknown. Use auto, float32, bfloat16, float16",
        ):
            choose_precision("double", torch.device("cpu"))

    @pytest.mark.parametrize(
        ("avx", "amx", "maker", "wanted"),
        [
            (False, False, "AuthenticAMD", "float32"),
            (True, False, "AuthenticAMD", "bfloat16"),
            (True, False, "GenuineIntel", "float32"),
            (True, True, "GenuineIntel", "bfloat16"),
        ],
    )
    def test_auto_on_a_processor(
        self,
        monkeypatch: pytest.MonkeyPatch,
        avx: bool,
        amx: bool,
        maker: str,
        wanted: str,
    ) -> None:
        monkeypatch.setattr(device, "_cpu_maker", lambda: f"vendor_id : {maker}")
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        assert choose_precision("auto", torch.device("cpu")) == getattr(torch, wanted)

    @pytest.mark.parametrize(
        ("native", "wanted"), [(True, "bfloat16"), (False, "float32")]
    )
    def test_auto_on_a_card(
        self, monkeypatch: pytest.MonkeyPatch, native: bool, wanted: str
    ) -> None:
        """A card that only emulates bfloat16 gets float32."""
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: native or including_emulation,
        )
        assert choose_precision("auto", torch.device("cuda")) == getattr(torch, wanted)
