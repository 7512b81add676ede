"""Figures by medical rules: per structure, in millimetres and millilitres, with intervals."""
