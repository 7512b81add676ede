"""Bundles from elsewhere: inspected as data, and run only within the allow-list or if you trust them."""
