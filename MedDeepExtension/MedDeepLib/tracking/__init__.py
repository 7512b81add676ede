"""Curves, parameters and metrics of a job for TensorBoard and MLflow."""
