"""The mergeable coverage sketch and the features computed from it."""
