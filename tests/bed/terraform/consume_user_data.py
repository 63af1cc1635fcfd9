"""Let the real cloud-init take user data apart: ``consume_user_data.py FOLDER < user-data``.

Run by the tests with cloud-init's modules in PYTHONPATH. It calls what cloud-init's init stage calls, on FOLDER and
not on /var/lib/cloud: multi-part is split, cloud-configs are merged, scripts are laid out. It prints the outcome.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cloudinit import handlers, helpers, settings, user_data, util  # type: ignore[import-not-found]
from cloudinit.handlers.cloud_config import CloudConfigPartHandler  # type: ignore[import-not-found]
from cloudinit.handlers.shell_script import ShellScriptPartHandler  # type: ignore[import-not-found]


class Source:
    """As much of a data source as Paths wants."""

    def get_instance_id(self) -> str:
        return "droplet"


def consume(folder: Path, text: str) -> dict[str, Any]:
    """Return the merged cloud-config, and the scripts by name in the order that they run."""
    paths = helpers.Paths({"cloud_dir": str(folder), "run_dir": str(folder)}, ds=Source())
    instance = folder / "instances" / "droplet"
    (instance / "scripts").mkdir(parents=True)
    (folder / "instance").symlink_to(instance)
    registered = helpers.ContentHandlers()
    both = (CloudConfigPartHandler(paths), ShellScriptPartHandler(paths))
    for handler in both:
        registered.register(handler)
        handlers.call_begin(handler, None, settings.PER_INSTANCE)
    state = {
        "handlers": registered,
        "handlerdir": str(folder),
        "data": None,
        "frequency": settings.PER_INSTANCE,
        "handlercount": 0,
        "excluded": [],
    }
    handlers.walk(user_data.UserDataProcessor(paths).process(text), handlers.walker_callback, data=state)
    for handler in both:
        handlers.call_end(handler, None, settings.PER_INSTANCE)
    config = instance / "cloud-config.txt"
    return {
        "config": util.load_yaml(config.read_text()) if config.exists() else {},
        "scripts": {path.name: path.read_text() for path in sorted((instance / "scripts").iterdir())},
    }


if __name__ == "__main__":
    print(json.dumps(consume(Path(sys.argv[1]), sys.stdin.read())))
