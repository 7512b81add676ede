"""Deep classification: what all its methods share, and the methods themselves in ``methods``."""
