"""Metrics by medical conventions: per structure, in millimetres and millilitres, with intervals."""
