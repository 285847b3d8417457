"""How many examples: few and always the same, unless HYPOTHESIS_PROFILE=thorough asks for more."""

import os

from hypothesis import settings


settings.register_profile("suite", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
