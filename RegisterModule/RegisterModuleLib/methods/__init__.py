"""The registration methods, one file each; the registry finds them without a list."""
