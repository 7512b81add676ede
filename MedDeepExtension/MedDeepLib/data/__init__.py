"""Cases, datasets, splits and image files; nothing here needs torch."""
