"""Networks that detection methods are made of."""
