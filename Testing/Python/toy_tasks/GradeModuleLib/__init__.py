"""A task for the tests whose cases have no image: predicts a grade from a table of findings and an age."""
