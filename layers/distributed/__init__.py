"""Layers that several processes compute together."""
