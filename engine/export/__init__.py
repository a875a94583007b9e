"""The model for other programs."""
