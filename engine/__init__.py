"""The machinery: how texts are read, files are kept, runs resume and the model gets fast.

Nobody must read it to understand the model, which is in charlstm.py. What is in
which file: README.md in this folder.
"""
