"""arwd downloads AI models: resumable, verified, put in place atomically, told live."""

__version__ = "0.1.0"
