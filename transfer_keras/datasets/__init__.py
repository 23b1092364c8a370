"""From a dataset's name to batches of a task's pictures."""
