"""Results of the task as nodes of the scene."""
