"""A method as a user may write it: it highlights what does not look like the training images.

An autoencoder learns to reproduce patches of healthy images, without any labels; its reconstruction error around each
voxel is a map of what is unlike them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from MedDeepLib.core import Method, Prediction, Predictor, Prepared, parameter
from MedDeepLib.data.sources.image import read_image, write_image


@dataclass(frozen=True)
class Parameters:
    steps: int = parameter(300, "Training steps.", minimum=1)
    codes: int = parameter(2, "Numbers that a patch of 4 x 4 x 4 voxels is compressed to.", minimum=1, maximum=64)


class ErrorMap(Prediction):
    def __init__(self, errors: np.ndarray, affine: np.ndarray):
        self.errors, self.affine = errors, affine

    def save(self, outputs):
        write_image(outputs["segmentation"], self.errors, self.affine)
        return list(outputs.values())

    def summary(self):
        return {"largest error": round(float(self.errors.max()), 4)}


class Anomaly(Method):
    task, name, title = "segment", "anomaly", "Anomaly map"
    summary = "Learns from healthy images alone; shows where an image differs from them."
    Parameters = Parameters
    output_endings = (".nrrd", ".nii.gz")

    def prepare(self, context):
        cases = context.dataset.training
        return Prepared(data=[_normalised(read_image(case.files("image")[0]).array[0]) for case in cases])

    def stages(self, prepared, context):
        import torch
        from MedDeepLib.training.randomness import random_state
        from MedDeepLib.training.stages import Optimisation, Samples, TrainStage

        images = prepared.data
        torch.manual_seed(context.seed)
        network = self.network().to(context.device)

        def sample(number):
            random = random_state(context.seed, number)
            image = images[random.randint(len(images))]
            first = [random.randint(n - 15) for n in image.shape]
            return {"image": torch.from_numpy(image[tuple(slice(f, f + 16) for f in first)].copy())[None]}

        yield TrainStage(
            "reproduce",
            {"network": network},
            Samples(8, sample=sample),
            loss=lambda output, batch: torch.nn.functional.mse_loss(output, batch["image"]),
            optimisation=Optimisation(torch.optim.Adam(network.parameters(), 3e-3), self.parameters.steps),
        )

    def network(self):
        from torch import nn

        return nn.Sequential(
            nn.Conv3d(1, 16, 4, stride=4), nn.ReLU(), nn.Conv3d(16, self.parameters.codes, 1),
            nn.ConvTranspose3d(self.parameters.codes, 1, 4, stride=4),
        )  # fmt: skip

    def predictor(self, model, context, options):
        network = self.network()
        network.load_state_dict(model.load_weights()["network"])
        return AnomalyPredictor(network.to(context.device).eval())


class AnomalyPredictor(Predictor):
    def __init__(self, network):
        self.network = network

    def read(self, inputs):
        return [read_image(file) for file in inputs["image"].files]

    def predict(self, images, context, wanted=()):
        import torch

        image = _normalised(images[0].array[0])
        padded = np.pad(image, [(0, -n % 4) for n in image.shape], mode="edge")
        with torch.inference_mode():
            x = torch.from_numpy(padded)[None, None].to(context.device)
            errors = ((self.network(x) - x) ** 2)[0, 0].cpu().numpy()
        return ErrorMap(errors[tuple(slice(n) for n in image.shape)], images[0].affine)


def _normalised(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32)
    return (array - array.mean()) / max(float(array.std()), 1e-6)
