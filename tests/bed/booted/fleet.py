"""A fleet as Terraform makes it: one of terraform/examples applied in a region of the lab, its Droplets booted.

with Region() as region, Fleet(region, pyz) as fleet:
    one, two = fleet.apply(2)
    one.wait_cloud_init()
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bed import ca
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import Answered, knock
from tests.bed.booted.region import Region
from tests.bed.cache import CHECKOUT
from tests.bed.hosts import Host
from tests.bed.terraform import tf

# The examples' image is Debian 13.
RELEASE = "trixie"
BUCKET = "fleet-files"
# Refreshes begin a minute after each other; a busy machine may need most of another for one, and to look.
ONE_INTERVAL = 110


class Fleet:
    """An example, initialised; use it in a `with` statement. Its Droplets are the region's.

    Args:
        region: where it is applied.
        pyz: the zipapp that it publishes, or is told where to find.
        example: its name.

    Attributes:
        droplets: those that exist, by name; Terraform destroying one does not end it in the lab.
        folder: holds all that Terraform reads and writes.
        printed: what Terraform has printed up to now.
    """

    def __init__(self, region: Region, pyz: bytes, example: str = "fleet") -> None:
        self.droplets: dict[str, BootedDroplet] = {}
        self.printed = ""
        self._region = region
        self._pyz = pyz
        self._example = example
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Fleet:
        tf.binary()  # or say that it is missing, before anything takes time
        self._region.bucket(BUCKET)
        with contextlib.ExitStack() as undo:
            self.folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            example = tf.copy_sources(self.folder) / "examples" / self._example
            (self.folder / "dist").mkdir()
            (self.folder / "dist/droplan.pyz").write_bytes(self._pyz)
            self._terraform = tf.Terraform(
                example,
                {  # what an example does not declare passes it by
                    "do_key": self._region.token,
                    "interval": "1",
                    "bucket": BUCKET,
                    "droplan_url": self._region.publish("droplan.pyz", self._pyz),
                    "droplan_sha256": hashlib.sha256(self._pyz).hexdigest(),
                },
                {
                    "TF_REATTACH_PROVIDERS": self._start_provider(undo, example),
                    # As the example's README tells CI to; by default there is no log at all.
                    "TF_LOG": "ERROR",
                    "TF_LOG_PATH": str(self.folder / "terraform.log"),
                },
            )
            self._run("init")
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._exit.close()

    def apply(self, count: int = 0) -> list[BootedDroplet]:
        """Run `terraform apply` and switch the new Droplets on.

        Args:
            count: how many there are to be, where the example leaves it open.

        Returns:
            The new ones, by name; they boot.
        """
        self._run("apply", "-auto-approve", droplet_count=str(count))
        listed = {droplet["name"]: droplet["id"] for droplet in self._region.do.droplets}
        new = {
            name: self._region.created(RELEASE, number)
            for name, number in sorted(listed.items())
            if name not in self.droplets
        }
        for droplet in new.values():
            droplet.boot()
        kept = {name: droplet for name, droplet in self.droplets.items() if name in listed}
        self.droplets = {**kept, **new}
        return list(new.values())

    def is_settled(self) -> bool:
        """Say whether another `terraform plan` finds nothing to do."""
        done = self._terraform.attempt("plan", "-detailed-exitcode", droplet_count=str(len(self.droplets)))
        self.printed += done.stdout
        assert done.returncode in (0, 2), done.stdout
        return done.returncode == 0

    def _run(self, *arguments: str, **variables: str) -> None:
        self.printed += self._terraform.run(*arguments, **variables)

    def _start_provider(self, undo: contextlib.ExitStack, example: Path) -> str:
        """Serve the provider's stub; return what Terraform is to be told of it."""
        environment = {
            **os.environ,
            "DIGITALOCEAN_API_URL": f"https://{ca.API_HOST}",
            "DIGITALOCEAN_TOKEN": self._region.token,
            "SSL_CERT_FILE": str(ca.certificates().authority),
            "STUB_SPACES": str(self._region.spaces),
            "PYTHONPATH": str(CHECKOUT),
        }
        stub = subprocess.Popen(
            [*self._region.workstation(), sys.executable, "-m", "tests.bed.terraform.stubprovider"],
            cwd=example,  # relative paths in the configuration begin there
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        undo.enter_context(stub)  # closes its standard input, which ends it, and waits
        assert stub.stdout
        return stub.stdout.readline().strip()


def knock_all(sources: Iterable[Host], targets: Iterable[Host]) -> dict[tuple[str, str], Answered]:
    """Knock at everybody from everybody else.

    Returns:
        What was found, by the names of source and target.
    """
    pairs = [(source, target) for source in sources for target in list(targets) if source is not target]
    with ThreadPoolExecutor(len(pairs)) as pool:
        found = pool.map(lambda pair: knock(*pair), pairs)
        return {(source.name, target.name): what for (source, target), what in zip(pairs, found)}
