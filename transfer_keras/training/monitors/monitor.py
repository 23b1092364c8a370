"""What every monitor is."""


class Monitor:
    """Looks on and does nothing; see `training.loop.Monitor` for when each is called."""

    def begin(self, step):
        pass

    def training(self, step, scores):
        pass

    def look(self, step, look):
        pass

    def validation(self, step, scores):
        pass

    def end(self, step, trained):
        pass
