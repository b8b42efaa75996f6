"""The course's studies: the measurements of the notebooks that go beyond the paper's tables."""
