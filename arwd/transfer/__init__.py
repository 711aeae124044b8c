"""Moving the bytes of one file: one ranged GET, judged before its first byte is taken, repeated until it is whole."""
