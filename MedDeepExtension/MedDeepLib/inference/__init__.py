"""Applying networks to whole images: which tiles, in what order, with how much memory."""
