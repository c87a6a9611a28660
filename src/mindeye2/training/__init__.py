"""Losses, mixing, batches and the loop that trains and resumes."""
