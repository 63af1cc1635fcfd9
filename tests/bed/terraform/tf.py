"""Run the real terraform, offline, on copies of our configurations."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bed.cache import CHECKOUT


def binary() -> str:
    """Return the path of terraform.

    Raises:
        RuntimeError: it is not installed.
    """
    found = shutil.which("terraform")
    if not found:
        raise RuntimeError("terraform (1.9 or later) is not in PATH: install it, then run again")
    return found


def copy_sources(folder: Path) -> Path:
    """Copy what a user of the module gets to a folder, and return the module's directory there.

    Terraform writes beside the configuration it runs, and a lock file made against a stub must never be committed.
    """
    generated = shutil.ignore_patterns(".terraform*", "*.tfstate*", "__pycache__")
    for part in ("terraform", "cloud-init"):
        shutil.copytree(CHECKOUT / part, folder / part, ignore=generated)
    return folder / "terraform"


@dataclass(frozen=True)
class Terraform:
    """A configuration to run terraform on.

    Args:
        directory: where the configuration is.
        variables: its input variables, given through the environment.
        environment: more environment, such as TF_REATTACH_PROVIDERS.
    """

    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def attempt(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run terraform, with some variables changed; return its exit status and what it printed."""
        given = {**self.variables, **variables}
        offline = {
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "TF_CLI_ARGS": "-no-color",
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return subprocess.run(
            [binary(), *arguments],
            cwd=self.directory,
            env={
                **inherited,
                **offline,
                **self.environment,
                **{f"TF_VAR_{name}": value for name, value in given.items()},
            },
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def run(self, *arguments: str, **variables: str) -> str:
        """Run terraform and return what it printed.

        Raises:
            AssertionError: it failed; the message is what it printed.
        """
        done = self.attempt(*arguments, **variables)
        assert done.returncode == 0, f"terraform {' '.join(arguments)}: {done.stdout}"
        return done.stdout
