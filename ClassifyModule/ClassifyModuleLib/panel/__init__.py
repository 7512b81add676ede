"""The panel's own section."""
