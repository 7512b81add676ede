"""Networks of the detection methods."""
