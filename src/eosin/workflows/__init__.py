"""The steps of a study, one function each."""
