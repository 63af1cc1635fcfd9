"""Import requests without what no run of ours uses; whoever needs requests or urllib3 takes them from here.

An unchanged refresh of a small fleet is mostly imports (docs/benchmarks.md). To guess the encoding of a text is for
pages, and we decode JSON: the modules that do are a tenth of requests' import. With None in sys.modules an import
fails as if the module were not installed, which requests allows for. (importlib.util.LazyLoader would put off others
as well, but before Python 3.13 an import statement itself has it load the module.)
"""

from __future__ import annotations

import sys
import warnings
from typing import Final

__all__ = ["requests", "urllib3"]

_NEVER: Final = ("charset_normalizer", "chardet")

for _name in _NEVER:
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # the documented way to say "not here"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # requests warns that it will guess no encoding
    import requests
    import urllib3
