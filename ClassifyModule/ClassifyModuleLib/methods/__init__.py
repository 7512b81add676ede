"""The classification methods, one file each; the registry finds every file put here."""
