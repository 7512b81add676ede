"""The detection methods, one file each."""
