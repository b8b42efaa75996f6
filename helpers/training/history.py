"""A trained model's weights and its history, as one file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..backend import keras


def save_with_history(model: keras.Model, history: list[dict], path: Path) -> None:
    """Write a model's weights and the history of its training."""
    arrays = {f"w{i:03d}": w for i, w in enumerate(model.get_weights())}
    with open(path, "wb") as file:
        np.savez(file, history=np.array(json.dumps(history)), **arrays)


def load_with_history(model: keras.Model | None, path: Path) -> list[dict]:
    """Fill a model, if one is given, from a file of save_with_history, and return the history."""
    with np.load(path) as stored:
        if model:
            model.set_weights([stored[name] for name in sorted(stored.files) if name != "history"])
        return json.loads(str(stored["history"]))
