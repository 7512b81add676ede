"""A task of the tests whose cases hold no image: a table of findings and an age are answered by a grade."""
