"""The course's studies: what the notebooks behind the paper's tables measure."""
