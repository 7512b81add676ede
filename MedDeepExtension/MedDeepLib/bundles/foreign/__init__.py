"""Bundles from elsewhere: inspected as data, run only as far as the allow-list goes or you trust them."""
