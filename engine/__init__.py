"""The machinery: how texts are read, files are kept, runs resume and the model gets fast.

You need none of it to understand the model, which is in charlstm.py. README.md in this folder
says what is in which file.
"""
