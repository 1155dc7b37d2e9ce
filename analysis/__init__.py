"""What can be computed about a network."""
