"""From image tokens to pictures, captions and ranked galleries."""
