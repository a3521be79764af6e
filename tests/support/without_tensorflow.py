"""A plugin for pytest: nothing can import TensorFlow, as where it is not installed.

`make test-jax` runs the models' tests so, on JAX.
"""

import importlib.abc
import sys


class _NotInstalled(importlib.abc.MetaPathFinder):
    # None in `sys.modules` would not do: Keras takes what is named there for imported.
    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"no {fullname} in these tests", name=fullname)


sys.meta_path.insert(0, _NotInstalled())
