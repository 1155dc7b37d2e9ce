"""What callers may pass, and the one sentence they read when it is something else.

Numbers and words become a `Geometry` here, and tensors that do not fit together raise what torch's
own functions raise.  Nothing is computed.
"""
