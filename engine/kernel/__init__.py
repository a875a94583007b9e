"""The network as Theano runs it: in C, by theano.scan, and in NumPy to test both."""
