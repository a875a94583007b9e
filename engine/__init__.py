"""The machinery: reading texts, keeping files, resuming runs and running the model fast.

You need none of it to understand the model, which is in charlstm.py. README.md in this folder is the map.
"""
VERSION = '1.0'
