"""For all tests: how Hypothesis searches."""

from hypothesis import settings

# A busy machine must not fail a property for the time that one example took.
settings.register_profile("freshlens", deadline=None, print_blob=True)
settings.load_profile("freshlens")
