"""Readers of dataset lists; a task's slots define the entries they look for."""
