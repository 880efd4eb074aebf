from __future__ import annotations

from labelsieve.versions import environment


def test_the_environment_has_versions() -> None:
    versions = environment()
    assert {"python", "machine", "labelsieve", "torch", "numpy"} <= versions.keys()
