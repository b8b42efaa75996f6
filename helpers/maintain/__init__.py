"""Record, verify, benchmark and generate: tools for the course's maintainers."""
