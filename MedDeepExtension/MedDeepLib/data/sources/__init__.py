"""Readers of the kinds of inputs and targets that a case names, one file a kind."""
