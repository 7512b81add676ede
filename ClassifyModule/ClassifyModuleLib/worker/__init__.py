"""The computations of the worker process; never imports Slicer or Qt."""
