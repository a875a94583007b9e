"""Theano itself: how it is built, imported, patched, and where it keeps compiled code."""
