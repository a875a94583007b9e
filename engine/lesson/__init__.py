"""The lesson: README.md derives the model, and has experiments."""
