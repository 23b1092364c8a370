"""Monitors of a training, and what they write: TensorBoard, a progress bar, times.

`training.hooks.Monitor` says when each is called.
"""
