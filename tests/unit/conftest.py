"""How the unit tests run: no time limit on one example, since a busy machine is no fault of the code."""

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
