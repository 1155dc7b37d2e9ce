"""Pages to hand to a class: each one HTML file, which asks for nothing from any network."""
