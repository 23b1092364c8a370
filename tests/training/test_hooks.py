"""The loop calls the hooks that a monitor has."""

import doctest

from transfer_keras.training import hooks


def test_the_example_runs():
    (example,) = doctest.DocTestFinder(recurse=False).find(hooks.Monitor, globs=vars(hooks).copy())
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_monitors_are_called_in_order_at_the_hooks_that_they_have():
    calls = []

    class Log:
        def __init__(self, name):
            self.name = name

        def on_log(self, step, scores):
            calls.append((self.name, step, scores))

    monitors = [Log("first"), object(), Log("last")]
    hooks.call_hook(monitors, "on_log", 3, {})
    hooks.call_hook(monitors, "on_train_begin", 0)
    assert calls == [("first", 3, {}), ("last", 3, {})]
