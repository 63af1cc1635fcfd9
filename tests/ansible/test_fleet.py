"""A fleet of two that runs already: looked at, observed, a canary, all, another token, and droplan gone again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bed.booted.droplet import BootedDroplet
from tests.bed.booted.probe import knock
from tests.bed.booted.region import Region
from tests.bed.cache import CHECKOUT

ROLE = CHECKOUT / "ansible"
PROGRAM = "/opt/droplan/droplan"
RECAP = re.compile(r"^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)


def ansible() -> Path:
    """Make the environment of requirements/ansible.txt, once; return where its programs are."""
    cache = Path(os.environ.get("DROPLAN_CACHE") or CHECKOUT / ".cache")
    make = f'. script/lib.sh && make_venv "{cache}/ansible-venv" requirements/ansible.txt'
    subprocess.run(["bash", "-c", make], cwd=CHECKOUT, check=True, env={**os.environ, "BASH_ARGV0": "test"})
    return cache / "ansible-venv" / "bin"


@dataclass(frozen=True)
class Fleet:
    """Two Droplets that run, a controller outside of their account, and what it types."""

    region: Region
    droplets: dict[str, BootedDroplet]
    folder: Path
    programs: Path

    def play(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ansible-playbook on the controller."""
        environment = {
            "ANSIBLE_CONFIG": str(ROLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
        }
        extra = [
            "-e",
            f"@{self.folder / 'vault.json'}",
            *(word for one in variables.items() for word in ("-e", "=".join(one))),
        ]
        command = ["ansible-playbook", "-i", str(self.folder / "inventory.json"), *extra, *words]
        return self.region.stranger.run(command, env=environment, check=False, timeout=500)

    def token(self, token: str) -> None:
        """Put a token into the vault."""
        (self.folder / "vault.json").write_text(json.dumps({"droplan_token": token}))

    def reached(self) -> list[bool]:
        """Tell which Droplets let the controller, a stranger in their VPC, in by their private addresses."""
        return [bool(knock(self.region.stranger, droplet).ssh) for droplet in self.droplets.values()]


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[int, int]]:
    """Read changed and failed (with unreachable) by Droplet."""
    return {
        name: (int(changed), int(lost) + int(failed)) for name, _, changed, lost, failed in RECAP.findall(done.stdout)
    }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("controller")
    subprocess.run([CHECKOUT / "script/roots", "bookworm", "trixie"], check=True)
    subprocess.run([CHECKOUT / "script/build"], check=True, stdout=subprocess.DEVNULL)
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    programs = ansible()
    pyz = CHECKOUT / "dist" / "droplan.pyz"
    with Region() as region:
        droplets = {
            name: region.droplet(release, name) for name, release in (("web-1", "bookworm"), ("web-2", "trixie"))
        }

        def up(droplet: BootedDroplet) -> None:
            droplet.boot()
            droplet.wait_cloud_init()
            keys = droplet.path("/root/.ssh/authorized_keys")
            keys.parent.mkdir(mode=0o700, exist_ok=True)
            keys.write_text(key.with_suffix(".pub").read_text())

        with ThreadPoolExecutor() as pool:
            list(pool.map(up, droplets.values()))
        hosts = {name: {"ansible_host": droplet.public.ipv4} for name, droplet in droplets.items()}
        common = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            "ansible_python_interpreter": "/usr/bin/python3",
            "droplan_file": str(pyz),
            "droplan_sha256": hashlib.sha256(pyz.read_bytes()).hexdigest(),
        }
        (folder / "inventory.json").write_text(json.dumps({"droplets": {"hosts": hosts, "vars": common}}))
        made = Fleet(region, droplets, folder, programs)
        made.token(region.token)
        yield made


def test_the_way_of_a_fleet(fleet: Fleet) -> None:
    rollout, look, uninstall = (str(ROLE / f"{name}.yml") for name in ("rollout", "look", "uninstall"))
    web1, web2 = fleet.droplets.values()
    said = ""

    done = fleet.play("--check", rollout)
    said += done.stdout + done.stderr
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert recap(done) == {"web-1": (1, 0), "web-2": (1, 0)}, "check mode says that it would install"
    assert not web1.path(PROGRAM).exists(), "and does not"

    done = fleet.play(rollout, droplan_sha256="0" * 64)
    assert done.returncode != 0
    assert "nothing was run" in done.stdout
    assert not web1.path(PROGRAM).exists()
    assert recap(done).keys() == {"web-1"}, "the second is not even tried"

    done = fleet.play(rollout)
    said += done.stdout + done.stderr
    assert recap(done) == {"web-1": (1, 0), "web-2": (1, 0)}, done.stdout[-4000:]
    assert fleet.reached() == [True, True], "observing shuts nobody out"
    done = fleet.play(look)
    assert done.returncode == 0
    assert done.stdout.count("OBSERVING") >= 2

    done = fleet.play(rollout)
    assert recap(done) == {"web-1": (0, 0), "web-2": (0, 0)}, f"again, nothing changes: {done.stdout}"

    done = fleet.play("--limit", "web-1", rollout, droplan_mode="enforce")
    assert recap(done) == {"web-1": (1, 0)}, done.stdout[-4000:]
    assert fleet.reached() == [False, True], "the canary is closed"

    done = fleet.play(rollout, droplan_mode="enforce")
    assert recap(done) == {"web-1": (0, 0), "web-2": (1, 0)}, done.stdout[-4000:]
    assert fleet.reached() == [False, False]
    said += done.stdout + done.stderr

    fleet.token("dop_v1_" + "f" * 64)
    done = fleet.play(rollout, droplan_mode="enforce")
    assert done.returncode != 0, "a token that does not work is refused"
    assert f"DO_KEY={fleet.region.token}\n" in web1.path("/etc/droplan/droplan.env").read_text(), (
        "and changes nothing"
    )
    fleet.token(fleet.region.token)

    assert fleet.region.token not in said
    history = "".join(path.read_text(errors="replace") for path in fleet.folder.rglob("*.log"))
    assert fleet.region.token not in history
    found = web1.run(["grep", "-rlsF", fleet.region.token, "/root", "/tmp", "/var/log", "/etc"], check=False).stdout
    assert found.split() == ["/etc/droplan/droplan.env"]

    done = fleet.play("--check", uninstall)
    assert done.returncode == 0
    assert web2.path(PROGRAM).exists()
    done = fleet.play(uninstall)
    assert done.returncode == 0, done.stdout[-4000:]
    assert not web2.path(PROGRAM).exists()
    assert fleet.reached() == [True, True]


def test_the_role_is_clean() -> None:
    programs = ansible()
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        [programs / "ansible-lint", "--offline"],
        cwd=ROLE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
