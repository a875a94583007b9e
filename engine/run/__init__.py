"""A run of train.py: its options, recipe, schedule, files and picture."""
