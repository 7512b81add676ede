"""The methods of the toy task."""
