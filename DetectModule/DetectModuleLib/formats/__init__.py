"""Lists of cases in formats of others."""
