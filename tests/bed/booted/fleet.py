"""A fleet as Terraform makes it: one of terraform/examples applied in a region of the lab, its Droplets booted.

with Region() as region, Fleet(region, pyz) as fleet:
    one, two = fleet.apply(2)
    one.wait_cloud_init()
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bed import ca
from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.files import DOMAIN
from tests.bed.booted.probe import Answered, knock
from tests.bed.booted.region import Region
from tests.bed.cache import CHECKOUT
from tests.bed.hosts import Host
from tests.bed.shared.desk import Desk
from tests.bed.shared.engine import Engine
from tests.bed.shared.fleet import Keys
from tests.bed.shared.proxy import Proxy
from tests.bed.terraform import tf

# The examples' image is Debian 13.
RELEASE = "trixie"
BUCKET = "fleet-files"
# Refreshes begin a minute after each other; a busy machine may need most of another for one, and to look.
ONE_INTERVAL = 110


class Fleet:
    """The example of that name, initialised; use it in a `with` statement. Its Droplets are the region's.

    Args:
        region: where it is applied.
        pyz: the zipapp that it publishes, or is told where to find.
        example: its name.

    Attributes:
        droplets: those that exist, by name; Terraform destroying one does not end it in the lab.
        folder: holds all that Terraform reads and writes.
        printed: what Terraform has printed up to now.
    """

    example = "fleet"
    count = "droplet_count"

    def __init__(self, region: Region, pyz: bytes) -> None:
        self.droplets: dict[str, BootedDroplet] = {}
        self.printed = ""
        self._region = region
        self._pyz = pyz
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Fleet:
        tf.binary()  # or say that it is missing, before anything takes time
        self._region.bucket(BUCKET)
        with contextlib.ExitStack() as undo:
            self.folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            example = tf.copy_sources(self.folder) / "examples" / self.example
            (self.folder / "dist").mkdir()
            (self.folder / "dist/droplan.pyz").write_bytes(self._pyz)
            self._terraform = tf.Terraform(
                example,
                {"do_key": self._region.token, "bucket": BUCKET, **self._variables()},
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

    def _variables(self) -> dict[str, str]:
        """Return what the example is given besides the token and the bucket's name."""
        return {"interval": "1"}

    def _provider(self) -> dict[str, str]:
        """Return what else the provider's stub has in its environment."""
        return {}

    def _published(self) -> dict[str, str]:
        """Publish the zipapp, for an example that is told where; return its variables for that."""
        return {
            "droplan_url": self._region.publish("droplan.pyz", self._pyz),
            "droplan_sha256": hashlib.sha256(self._pyz).hexdigest(),
        }

    def apply(self, count: int) -> list[BootedDroplet]:
        """Run `terraform apply` for so many Droplets and switch the new ones on.

        Returns:
            The new ones, by name; they boot.
        """
        self._run("apply", "-auto-approve", **{self.count: str(count)})
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

    def is_settled(self, count: int) -> bool:
        """Say whether another `terraform plan` for so many finds nothing to do."""
        done = self._terraform.attempt("plan", "-detailed-exitcode", **{self.count: str(count)})
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
            **self._provider(),
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


class ThreeTiers(Fleet):
    """The web server, the database and the bastion of terraform/examples/three-tier: three Droplets, always."""

    example = "three-tier"
    count = "ignored"  # what an example does not declare passes it by

    def _variables(self) -> dict[str, str]:
        return {"interval": "1", **self._published()}


class SharedFleet(Fleet):
    """Publishers and members of terraform/examples/shared, before the real object store.

    Args:
        region: where it is applied.
        pyz: the zipapp, which has its place already.
        engine: the object store.

    Attributes:
        keys: who signs.
    """

    example = "shared"
    count = "member_count"

    def __init__(self, region: Region, pyz: bytes, engine: Engine) -> None:
        super().__init__(region, pyz)
        self._engine = engine
        self._around = contextlib.ExitStack()

    def __enter__(self) -> SharedFleet:
        with contextlib.ExitStack() as undo:
            place = Path(undo.enter_context(tempfile.TemporaryDirectory()))
            self.keys = Keys.made(place / "fleet.key")
            self._desk = undo.enter_context(Desk(self._engine, place / "desk"))
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(ca.server(DOMAIN))
            undo.enter_context(Proxy(self._engine.url, self._region.store(), tls))
            super().__enter__()
            self._around = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._around.close()

    def _variables(self) -> dict[str, str]:
        return {
            **self._published(),
            "signing_key": self.keys.private.read_text(),
            "trust": json.dumps([self.keys.public]),
        }

    def _provider(self) -> dict[str, str]:
        return {"STUB_STORE": str(self._desk.place)}

    def grow(self, count: int) -> Host:
        """Run `terraform apply` for one member more, who is there and does not boot."""
        self._run("apply", "-auto-approve", **{self.count: str(count)})
        (new,) = (each for each in self._region.do.droplets if each["name"] not in self.droplets)
        return self._region.awake(new["id"])


def knock_all(sources: Iterable[Host], targets: Iterable[Host]) -> dict[tuple[str, str], Answered]:
    """Knock at everybody from everybody else.

    Returns:
        What was found, by the names of source and target.
    """
    pairs = [(source, target) for source in sources for target in list(targets) if source is not target]
    with ThreadPoolExecutor(len(pairs)) as pool:
        found = pool.map(lambda pair: knock(*pair), pairs)
        return {(source.name, target.name): what for (source, target), what in zip(pairs, found)}
