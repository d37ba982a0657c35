"""The train step, the loop, and what keeps it alive."""
