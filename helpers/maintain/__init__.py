"""Record, verify, benchmark and generate: for whoever maintains the course."""
