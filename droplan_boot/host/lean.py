"""Import requests without what no run of ours uses; whoever needs requests or urllib3 takes them from here.

An unchanged refresh of a small fleet is mostly imports (docs/benchmarks.md). To guess the encoding of a text is for
pages, and we decode JSON: the modules that do are a tenth of requests' import. With None in sys.modules an import
fails as if the module were not installed, which requests allows for. Others are imported for what is used on rare
occasions: while requests is imported a stand-in has their place, which imports the module once it is used.
(importlib.util.LazyLoader would do that, but before Python 3.13 an import statement itself has it load the module.)
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, Callable, Final

__all__ = ["requests", "urllib3"]

_NEVER: Final = ("charset_normalizer", "chardet")
_LATER: Final = {
    "importlib.metadata": ("version",),  # urllib3's, where somebody turns HTTP/2 on
    "zipfile": (),  # requests', where its certificates are in an archive
}


def _stand_in(name: str, functions: Iterable[str]) -> ModuleType:
    """Make a module that imports the one of that name once something of it is asked for, or a function called."""
    module = ModuleType(name)

    def find(attribute: str) -> Any:
        if attribute.startswith("__"):  # an import statement asks for __path__
            raise AttributeError(attribute)
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    module.__getattr__ = find  # type: ignore[method-assign]  # PEP 562
    for function in functions:
        setattr(module, function, _called(find, function))
    return module


def _called(find: Callable[[str], Any], function: str) -> Callable[..., Any]:
    return lambda *args, **words: find(function)(*args, **words)


for _name in _NEVER:
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # the documented way to say "not here"
_stand_ins = {name: _stand_in(name, functions) for name, functions in _LATER.items() if name not in sys.modules}
sys.modules.update(_stand_ins)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # requests warns that it will guess no encoding
    import requests
    import urllib3
for _name, _module in _stand_ins.items():
    if sys.modules.get(_name) is _module:
        del sys.modules[_name]
