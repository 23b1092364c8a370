"""What looks on while networks train, a file an idea. See `training.loop.Monitor`."""
