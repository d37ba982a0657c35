"""A folder of a user's own videos with sound."""
