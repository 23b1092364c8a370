"""The loop and the optimisers."""
