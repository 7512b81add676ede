"""What the worker process computes; never imports Slicer or Qt."""
