"""What computes a trained network: torch itself, or on a CPU OpenVINO, which needs a third to half of the time.

    network = Backend(network, "auto", context.device, Converted(model.folder))
    labels = apply_within_memory(network, prepared, tiling, context.device, Labels(), ...)

A :class:`~MedDeepLib.inference.backends.backend.Backend` is called like the network that it stands for. OpenVINO is
refused for a network that it cannot convert, or whose results differ from torch's; the network then runs in torch, and
the reason is kept for the result.
"""
