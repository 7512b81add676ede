"""Networks of the classification methods."""
