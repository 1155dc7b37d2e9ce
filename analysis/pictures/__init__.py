"""Pictures of a network and of what it makes of an image, drawn with matplotlib."""
