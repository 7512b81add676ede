"""What computes a trained network: the choice as a parameter of every method's ``ApplyParameters``."""

from __future__ import annotations

from MedDeepLib.core.parameters import parameter

BACKENDS = ("auto", "torch", "openvino")


def backend_parameter():
    """The option that says what computes the network; see :mod:`MedDeepLib.inference.backends`."""
    return parameter(
        "auto",
        "What computes the network: torch, or OpenVINO, which takes a third to half of the time on a CPU; auto: "
        "OpenVINO on a CPU where the package openvino is installed and the results agree, otherwise torch.",
        choices=BACKENDS,
        advanced=True,
        matters=False,
    )
