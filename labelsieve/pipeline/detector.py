"""DeFT for people who have arrays, in scikit-learn's manner."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator

from labelsieve.data.load import load
from labelsieve.errors import RunError
from labelsieve.pipeline.scan import scan
from labelsieve.pipeline.score import score
from labelsieve.runs.run import Run

# Parameters that are no settings of the method, and their defaults; scikit-learn reads those of
# other classes off the signature, which cannot name the settings.
PARAMETERS: dict[str, Any] = {
    "model": "auto",
    "preset": "auto",
    "seed": 0,
    "device": "auto",
    "precision": "auto",
    "class_names": None,
    "template": "a photo of a {}.",
}


class DeFT(BaseEstimator):  # type: ignore[misc]
    """Find wrong labels among images and labels in memory (Wei et al., NeurIPS 2024).

    Args:
        model: "auto", "tiny", a Hugging Face directory or a hub id.
        preset, seed, device, precision: as in `labelsieve.scan`.
        class_names: label -> how it is written into prompts.
        template: plain prompt with {} for the class name.
        settings: settings of the method, e.g. epochs=5. They are parameters like the others, so
            that scikit-learn's `clone`, `get_params` and `set_params` know them.

    Attributes:
        classes_: labels as text, sorted.
        p_clean_: [n] float, probability that each training label is right; NaN where the image
            is unusable.
        issues_: [n] bool, labels called wrong.
        suggested_: [n] labels suggested, None where the image is unusable.
        noise_rate_: (estimate, low, high).

    Example:
        >>> detector = DeFT(model="tiny", epochs=5).fit(images, labels)  # doctest: +SKIP
        >>> suspicious = detector.p_clean_.argsort()[:50]  # doctest: +SKIP
    """

    issues_: np.ndarray

    def __init__(
        self,
        model: str = "auto",
        *,
        preset: str = "auto",
        seed: int = 0,
        device: str = "auto",
        precision: str = "auto",
        class_names: dict[str, str] | None = None,
        template: str = "a photo of a {}.",
        **settings: Any,
    ) -> None:
        self.model = model
        self.preset = preset
        self.seed = seed
        self.device = device
        self.precision = precision
        self.class_names = class_names
        self.template = template
        self.settings = settings
        self._run: Run | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name, those of the method among them."""
        params = {name: getattr(self, name) for name in PARAMETERS}
        return {**params, **self.settings}

    def set_params(self, **params: Any) -> DeFT:
        """Set parameters by name; unknown ones are settings of the method.

        They hold from the next `fit` on.
        """
        for name, value in params.items():
            if name in PARAMETERS:
                setattr(self, name, value)
            else:
                # a new dictionary: a clone shares none with its original
                self.settings = {**self.settings, name: value}
        return self

    def __repr__(self) -> str:
        given = []
        for name, value in self.get_params().items():
            if name not in PARAMETERS or value != PARAMETERS[name]:
                given.append(f"{name}={value!r}")
        return f"DeFT({', '.join(given)})"

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` was called, for scikit-learn's `check_is_fitted`."""
        return self._run is not None

    def fit_predict(self, images: Sequence[Any], labels: Sequence[Any]) -> np.ndarray:
        """[n] bool: train on all images, and say which of their labels are called wrong."""
        return self.fit(images, labels).issues_

    def fit(self, images: Sequence[Any], labels: Sequence[Any]) -> DeFT:
        """Train on all images and judge their labels.

        Args:
            images: n pictures, arrays, encoded bytes or paths (`labelsieve.data.sources.arrays`).
            labels: n labels of any type that can be written as text.

        Raises:
            LabelsieveError: what is wrong with the data and what to do.
        """
        # the run lives as long as the detector, which reads it again to judge other images
        folder = Path(tempfile.mkdtemp(prefix="labelsieve-"))
        # not __del__: it may run when modules are gone already
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        spec = load(
            (images, labels), class_names=self.class_names or {}, template=self.template
        )
        self._run = scan(
            spec,
            output=folder / "run",
            method="deft",
            model=self.model,
            preset=self.preset,
            settings=self.settings,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
        )
        # scikit-learn ends the names of what was learned with an underscore
        self.classes_ = np.array(sorted(self._run.noise["per_class"]))
        self.noise_rate_ = self._run.noise_rate
        self.p_clean_, self.issues_, self.suggested_ = _columns(
            self._run.scores, len(labels)
        )
        return self

    def predict_proba(self, images: Sequence[Any], labels: Sequence[Any]) -> np.ndarray:
        """[n] float: probability that each label is right, of images it was not trained on."""
        return self._judge(images, labels)[0]

    def predict(self, images: Sequence[Any], labels: Sequence[Any]) -> np.ndarray:
        """[n] bool: True where the label is called wrong."""
        return self._judge(images, labels)[1]

    def _judge(
        self, images: Sequence[Any], labels: Sequence[Any]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self._run is None:
            raise RunError(
                "This DeFT is not fitted.", "Call fit(images, labels) first."
            )
        data = (images, labels)
        table = score(self._run, data, device=self.device, precision=self.precision)
        return _columns(table, len(labels))


def _columns(scores: pa.Table, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_clean, issues and suggestions [n] in the order of the rows handed in."""
    # a row's key is its number: "row17#" and the hash of its content
    ids = scores["sample_id"].to_pylist()
    rows = [int(i.partition("#")[0].removeprefix("row")) for i in ids]
    p_clean = np.full(n, np.nan)
    p_clean[rows] = scores["p_clean"].to_numpy()
    issues = np.zeros(n, dtype=bool)
    # null where the image is unusable
    issues[rows] = scores["is_label_issue"].fill_null(False).to_numpy()
    suggested = np.full(n, None, dtype=object)
    suggested[rows] = scores["suggested_label"].to_pylist()
    return p_clean, issues, suggested
