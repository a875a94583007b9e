"""The page of produce_text.py --page, and what its browser runs."""
