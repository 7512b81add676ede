"""The command lines: one for every task, and those for jobs, models and devices."""
