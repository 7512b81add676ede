"""The worker process: what happens to a job once it runs. Imports torch, never Slicer or Qt."""
