"""A task for the tests without images: predicts the probability of a relapse from a table of features."""
