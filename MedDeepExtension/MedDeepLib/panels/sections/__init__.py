"""Sections that the panels of all tasks are made of."""
