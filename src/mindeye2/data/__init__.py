"""The prepared folder, what fills it, and the simulated people."""
