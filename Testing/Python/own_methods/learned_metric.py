"""A user-written registration method in one file: a small network learns a similarity, and gradient steps follow it.

After Simonovsky et al. 2016, arXiv 1609.05396, in miniature.
"""

from __future__ import annotations

from dataclasses import dataclass

from MedDeepLib.core import parameter, with_defaults
from RegisterModuleLib.method import RegistrationMethod
from RegisterModuleLib.parameters import TrainingParameters


@dataclass(frozen=True)
@with_defaults(spacing=6.0, batch_size=2, learning_rate=0.01)
class Parameters(TrainingParameters):
    steps: int = parameter(200, "Training steps.", minimum=1)


class LearnedMetric(RegistrationMethod):
    name, title = "learned-metric", "Learned metric"
    summary = "Aligns two images as images of the training set are aligned with themselves."
    Parameters = Parameters

    def build(self, plan, channels):
        from torch import nn

        layers = nn.Conv3d(2 * channels, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 1)
        return {"metric": nn.Sequential(*layers)}

    def stages(self, prepared, context):
        import torch
        from MedDeepLib.training.randomness import random_state
        from RegisterModuleLib.worker.stages import pair_stage

        images = [one.image for one in prepared.data[0].images]

        def sample(number):
            random = random_state(context.seed, number)
            fixed, apart = images[random.randint(len(images))], number % 2
            moving = fixed.roll(tuple(random.choice([-3, -2, 2, 3], 3) * apart), (1, 2, 3))
            return {"image": torch.cat([fixed, moving]), "apart": torch.full(fixed.shape, float(apart))}

        network = self.untrained_networks(prepared, context)["metric"]

        def loss(output, batch):
            return torch.nn.functional.binary_cross_entropy_with_logits(output, batch["apart"])

        yield pair_stage("metric", network, sample, loss, None, self.parameters, self.parameters.steps)

    def align(self, alignment, networks, model, options):
        import torch

        def metric(fixed, moving, weight):
            return (networks["metric"](torch.cat([fixed, moving])[None])[0] * weight).sum() / weight.sum()

        alignment.refine_matrix("rigid", options.matrix_steps, metric, to_finest=False)
        alignment.refine_field(10, metric, smoothness=2.0)
