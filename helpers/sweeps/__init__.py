"""Grids of jobs: many budgets, steps and seeds, resumable, here or on a cluster."""
