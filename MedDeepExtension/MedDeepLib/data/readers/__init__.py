"""Readers of dataset lists; which entries they look for is said by a task's slots."""
