"""A task of the tests without any image: a table of features is answered by the probability of a relapse."""
