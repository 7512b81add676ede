"""Trained models on disk, in the layout of MONAI bundles."""
