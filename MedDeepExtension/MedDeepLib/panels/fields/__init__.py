"""Single fields of a panel: paths, models, devices, parameters."""
