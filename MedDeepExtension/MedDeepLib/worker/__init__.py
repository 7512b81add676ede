"""The worker process: runs a job. Imports torch, never Slicer or Qt."""
