"""Shared library of MedDeepExtension: everything the four panels, the worker and the batch scripts have in common.

The sub-packages, from the bottom up: ``devices`` and ``data`` (no deep learning), ``methods`` (what a method is),
``training``, ``inference``, ``evaluation`` and ``bundles`` (these import torch and MONAI when they work), ``jobs``
(a unit of work in a process of its own), ``scene`` (the only one that knows MRML) and ``panels`` (the only one
that knows Qt). A package imports only from packages that come before it.
"""

__version__ = "0.1.0"
