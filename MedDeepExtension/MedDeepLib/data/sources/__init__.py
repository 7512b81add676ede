"""Readers for the kinds of inputs and targets, one file per kind."""
