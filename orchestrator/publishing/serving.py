"""The served model: MLflow reads this file as code, so it does not need lotus-sweep.

Input: uint8 images (N, H, W, C). Output: float32 class probabilities (N, classes), or with the
parameter `labels: true` for each image its likeliest class: number, name and probability.

It runs all patches of each image, as plain timm does, so its accuracy is the one on whole images.
Its description in MLflow gives that one, and the one on the patches that the trial keeps.
"""

import json
from typing import Any

import mlflow
import numpy as np


class SparseVit(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A timm vision transformer from a safetensors checkpoint."""

    def load_context(self, context):  # type: ignore[no-untyped-def]
        """Build the model from the checkpoint's own header."""
        import timm
        import torch
        from safetensors import safe_open

        with safe_open(context.artifacts["checkpoint"], framework="pt") as file:
            header = file.metadata()
            # Without the predictors that leave tokens out inside: plain timm keeps all of them.
            names = [name for name in file.keys() if not name.startswith("reducer.")]  # noqa: SIM118
            state = {name: file.get_tensor(name) for name in names}
        self.class_names = json.loads(header.get("class_names", "[]"))
        self.model = timm.create_model(header["timm_model"], **json.loads(header["timm_kwargs"]))
        self.model.load_state_dict(state)
        self.model.eval()
        self.mean = torch.tensor(json.loads(header["mean"])).view(1, -1, 1, 1)
        self.std = torch.tensor(json.loads(header["std"])).view(1, -1, 1, 1)

    def predict(self, context, model_input: np.ndarray, params=None):  # type: ignore[no-untyped-def]
        """Class probabilities of uint8 images (N, H, W, C), or the likeliest class of each."""
        import torch
        import torch.nn.functional as F

        images = torch.from_numpy(np.ascontiguousarray(model_input))
        x = images.permute(0, 3, 1, 2).float() / 255.0
        size = tuple(self.model.patch_embed.img_size)
        if tuple(x.shape[-2:]) != size:
            x = F.interpolate(x, size=size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        with torch.no_grad():
            found = self.model((x - self.mean) / self.std).softmax(-1).numpy()
        return _named(found, self.class_names) if (params or {}).get("labels") else found


def _named(found: np.ndarray, class_names: list[str]) -> list[dict[str, Any]]:
    """The largest probability of each row, and whose it is; a class without a name has None."""
    names = dict(enumerate(class_names))
    return [
        {"class": int(c), "label": names.get(int(c)), "probability": float(row[c])}
        for row, c in zip(found, found.argmax(-1), strict=True)
    ]


mlflow.models.set_model(SparseVit())
