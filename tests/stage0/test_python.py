"""A Python for droplan where the system's is too old: from the distribution, else one of our own."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.bed.stage0.droplet import SYSTEM_PYTHON, Stage0Droplet
from tests.bed.stage0.server import LoopbackServer, Pause, Reply
from tests.stage0.conftest import INTERPRETERS, Published

# Each of these runs stage-0 but cannot run droplan; "" stands for one that is not safe, and is always at hand.
TOO_OLD = [*(INTERPRETERS[version] for version in ("2.7", "3.6", "3.7", "3.8") if version in INTERPRETERS), ""]
TOKENS = ("DO_KEY", "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")
LOG = 'echo "$(basename "$0") $*" >> {log}; env >> {log}.env\n'
NOTHING = "exit 1\n"

DNF_LIST = """\
Installed Packages
python3.x86_64                 3.6.8-71.el8           @baseos
Available Packages
python3.11.x86_64              3.11.13-1.el8          appstream
python3.11-devel.x86_64        3.11.13-1.el8          appstream
python3.12.x86_64              3.12.11-1.el8          appstream
python3.6.x86_64               3.6.8-1                other
"""
APT_SEARCH = """\
python3.8 - Interactive high-level object-oriented language (version 3.8)
python3.9 - Interactive high-level object-oriented language (version 3.9)
"""


class Distribution:
    """A Droplet whose Python cannot be chosen, with package tools that log how they are called."""

    def __init__(self, droplet: Stage0Droplet) -> None:
        self.droplet = droplet
        self.python = droplet.take_python_away()
        self.log = droplet.folder / "packages"

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wrapper(self) -> str:
        """A Python that works wherever it lies."""
        return f'#!/bin/sh\\nexec {self.python} "$@"\\n'

    def offers(self, tool: str, listing: str, installs: bool = True, update: str = "true") -> None:
        """Provide dnf, yum, or apt-get with apt-cache. Its install puts python3.N on the PATH, or fails."""
        log = LOG.format(log=self.log)
        show = f"cat <<'EOF'\n{listing}EOF\n"
        last = "for name; do :; done"
        install = (
            f"{last}; printf '{self.wrapper()}' > /usr/bin/$name; chmod 0755 /usr/bin/$name"
            if installs
            else "echo Error: Unable to find a match >&2; exit 1"
        )
        cases = f'case "$*" in\n*" install "*|install*) {install} ;;\n*update*) {update} ;;\n*) {show};;\nesac\n'
        self.droplet.add_command(tool, log + cases)
        if tool == "apt-get":
            self.droplet.add_command("apt-cache", log + show)

    def python_archive(self) -> bytes:
        """A tarball like python-build-standalone's, of a Python that runs the one of this machine."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            add(tar, "python/bin/python3.12", self.wrapper().replace("\\n", "\n").encode(), mode=0o777)
            add(tar, "python/bin/python3", link="python3.12")
            add(tar, "python/lib/data", b"data", mode=0o666)
            add(tar, "python/lib/same", link="python/lib/data", kind=tarfile.LNKTYPE)
        return packed.getvalue()


def add(
    tar: tarfile.TarFile,
    name: str,
    body: bytes = b"",
    *,
    link: str = "",
    kind: bytes | None = None,
    mode: int = 0o644,
) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.linkname = len(body), mode, link
    member.uid = member.gid = 1000
    member.type = kind or (tarfile.SYMTYPE if link else tarfile.REGTYPE)
    tar.addfile(member, io.BytesIO(body))


@pytest.fixture
def distribution(droplet: Stage0Droplet) -> Distribution:
    return Distribution(droplet)


@dataclass(frozen=True)
class PrivatePython:
    body: bytes
    arguments: tuple[str, ...]


@pytest.fixture
def private_python(distribution: Distribution, server: LoopbackServer) -> PrivatePython:
    body = distribution.python_archive()
    url = server.offer("/cpython.tar.gz", Reply(body))
    return PrivatePython(body, ("--python-url", url, "--python-sha256", hashlib.sha256(body).hexdigest()))


@pytest.mark.parametrize("python", TOO_OLD[:-1])
def test_an_old_python_hands_over_to_the_one_of_the_system(
    python: str, droplet: Stage0Droplet, published: Published
) -> None:
    assert droplet.run(python, *published.arguments, environment=published.trust).installed["python"] == SYSTEM_PYTHON


@pytest.mark.parametrize(
    ("tool", "listing", "installed", "options"),
    [
        ("dnf", DNF_LIST, "python3.12", "-y"),
        ("yum", DNF_LIST, "python3.12", "-y"),
        ("apt-get", APT_SEARCH, "python3.9", "DPkg::Lock::Timeout=300"),
    ],
)
def test_the_newest_python_that_the_distribution_offers_is_installed(
    tool: str, listing: str, installed: str, options: str, distribution: Distribution, published: Published
) -> None:
    distribution.offers(tool, listing)
    secrets = dict.fromkeys(TOKENS, "secret")

    outcome = distribution.droplet.run(
        distribution.python, *published.arguments, environment={**published.trust, **secrets}
    )

    assert outcome.installed["environment"].items() >= secrets.items()
    assert f"running droplan install with /usr/bin/{installed}" in outcome.last_line
    call = next(call for call in distribution.calls if "install " in call)
    assert call.startswith(f"{tool} install ")
    assert call.endswith(f" {installed}")
    assert options in call
    environment = (distribution.droplet.folder / "packages.env").read_text()
    assert "DEBIAN_FRONTEND=noninteractive" in environment
    assert "secret" not in environment, "the token is in no child's environment"


def test_package_lists_that_are_locked_are_waited_for(distribution: Distribution, published: Published) -> None:
    held = distribution.droplet.folder / "held"
    held.touch()
    update = f"if [ -e {held} ]; then rm {held}; echo E: Could not get lock; exit 100; fi"
    distribution.offers("apt-get", APT_SEARCH, update=update)

    outcome = distribution.droplet.run(distribution.python, *published.arguments, environment=published.trust)

    assert outcome.installed
    assert distribution.droplet.waited == [5]


def test_lists_that_cannot_be_updated_are_used_as_they_are(distribution: Distribution, published: Published) -> None:
    distribution.offers("apt-get", APT_SEARCH, update="echo E: The repository is not signed; exit 100")

    outcome = distribution.droplet.run(distribution.python, *published.arguments, environment=published.trust)

    assert outcome.installed
    assert distribution.droplet.waited == []


@pytest.mark.parametrize("python", TOO_OLD)
@pytest.mark.parametrize("offer", ["nothing", "only-old-ones", "one-that-fails", "no-tool"])
def test_else_a_private_python_is_unpacked(
    offer: str, python: str, distribution: Distribution, published: Published, private_python: PrivatePython
) -> None:
    if offer == "nothing":
        distribution.offers("yum", "")
    elif offer == "only-old-ones":
        distribution.offers("apt-get", "python3.8 - Interactive\n")
    elif offer == "one-that-fails":
        distribution.offers("dnf", DNF_LIST, installs=False)
    droplet = distribution.droplet
    arguments = (*published.arguments, *private_python.arguments, "--dry-run")

    outcome = droplet.run(python or distribution.python, *arguments, environment=published.trust)

    assert outcome.installed["arguments"] == ["install", "--dry-run"]
    assert "running droplan install with /opt/droplan/python/bin/python3" in outcome.last_line
    assert droplet.left_behind == [droplet.pyz.name, "python"]


def test_the_private_python_belongs_to_root_alone_and_is_used_again(
    distribution: Distribution, published: Published, private_python: PrivatePython, server: LoopbackServer
) -> None:
    droplet = distribution.droplet
    for _ in range(2):
        assert droplet.run(
            distribution.python, *published.arguments, *private_python.arguments, environment=published.trust
        ).installed

    tree = [path.lstat() for path in (droplet.directory / "python").rglob("*") if not path.is_symlink()]
    assert len(tree) == 5
    assert {found.st_uid for found in tree} == {0}
    assert not any(found.st_mode & 0o022 for found in tree)
    assert (droplet.directory / "python/lib/same").read_bytes() == b"data"
    assert server.requests == ["/droplan.pyz", "/cpython.tar.gz"]


def test_a_whole_python_is_unpacked_and_runs_from_where_it_is_put(
    distribution: Distribution, published: Published, server: LoopbackServer
) -> None:
    """With a copy of this machine's own: thousands of files, as in a real build."""
    packed = io.BytesIO()
    ask = "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'))"
    answer = subprocess.run([SYSTEM_PYTHON, "-c", ask], capture_output=True, text=True, check=True)
    program, library = map(Path, answer.stdout.split())
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(program, f"python/bin/{program.name}")
        add(tar, "python/bin/python3", link=program.name)
        tar.add(library, f"python/lib/{library.name}", filter=only_the_standard_library)
    url = server.offer("/whole.tar.gz", Reply(packed.getvalue()))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()

    outcome = distribution.droplet.run(
        *(distribution.python, *published.arguments, "--python-url", url, "--python-sha256", digest),
        environment=published.trust,
    )

    assert outcome.installed["python"] == "/opt/droplan/python/bin/python3"
    assert outcome.installed["library"].startswith("/opt/droplan/python/lib/")


def only_the_standard_library(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is installed beside it, and links that leave it, as Debian's sitecustomize is."""
    left_out = ("site-packages", "dist-packages", "test", "__pycache__")
    leaves = member.issym() and member.linkname.startswith(("/", "../.."))
    return None if leaves or Path(member.name).name in left_out else member


def test_a_disk_that_is_full_of_the_private_python(
    distribution: Distribution, published: Published, server: LoopbackServer
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        add(tar, "python/bin/python3", bytes(1_000_000), mode=0o755)
    url = server.offer("/large.tar.gz", Reply(packed.getvalue()))
    distribution.droplet.give("600k")

    outcome = distribution.droplet.run(
        *(distribution.python, *published.arguments, "--python-url", url),
        *("--python-sha256", hashlib.sha256(packed.getvalue()).hexdigest()),
        environment=published.trust,
    )

    assert outcome.code == 15, outcome.stderr
    assert "the disk is full" in outcome.last_line


def test_a_private_python_that_is_broken_is_replaced(
    distribution: Distribution, published: Published, private_python: PrivatePython
) -> None:
    broken = distribution.droplet.directory / "python/bin/python3"
    broken.parent.mkdir(parents=True)
    broken.touch(mode=0o755)

    assert distribution.droplet.run(
        distribution.python, *published.arguments, *private_python.arguments, environment=published.trust
    ).installed


def test_a_run_killed_while_it_fetches_python_is_made_good_by_the_next(
    distribution: Distribution, published: Published, private_python: PrivatePython, server: LoopbackServer
) -> None:
    pause = Pause(private_python.body)
    server.offer("/cpython.tar.gz", pause, Reply(private_python.body))
    droplet = distribution.droplet
    arguments = (distribution.python, *published.arguments, *private_python.arguments)
    run = droplet.start(*arguments, environment=published.trust)
    assert pause.reached.wait(60)
    run.kill()
    run.communicate()

    assert droplet.run(*arguments, environment=published.trust).installed
    assert droplet.left_behind == [droplet.pyz.name, "python"]


@pytest.mark.parametrize(
    ("status", "sha256", "code", "sentence"),
    [(404, "", 12, "answered 404"), (200, "0" * 64, 13, "it was removed and not run")],
)
def test_a_private_python_that_cannot_be_had(
    status: int,
    sha256: str,
    code: int,
    sentence: str,
    distribution: Distribution,
    published: Published,
    private_python: PrivatePython,
    server: LoopbackServer,
) -> None:
    server.offer("/cpython.tar.gz", Reply(private_python.body, status=status))
    arguments = [*published.arguments, *private_python.arguments]
    arguments[-1] = sha256 or arguments[-1]

    outcome = distribution.droplet.run(distribution.python, *arguments, environment=published.trust)

    assert outcome.code == code, outcome.stderr
    assert sentence in outcome.last_line
    assert distribution.droplet.left_behind == [distribution.droplet.pyz.name]


def test_a_private_python_that_does_not_run_is_not_put_in_place(
    distribution: Distribution, published: Published, server: LoopbackServer
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        add(tar, "python/bin/python3", b"\x7fELF of another machine", mode=0o755)
    url = server.offer("/other.tar.gz", Reply(packed.getvalue()))
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()

    outcome = distribution.droplet.run(
        *(distribution.python, *published.arguments, "--python-url", url, "--python-sha256", sha256),
        environment=published.trust,
    )

    assert outcome.code == 14, outcome.stderr
    assert "does not run here" in outcome.last_line
    assert distribution.droplet.left_behind == [distribution.droplet.pyz.name]


def test_an_architecture_without_a_known_build(stage0: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage0.os, "uname", lambda: ("Linux", "droplet", "6.1", "#1", "riscv64"))

    with pytest.raises(stage0.Failure, match="is known for riscv64") as caught:
        stage0.install_private_python({})

    assert caught.value.code == 14


@pytest.mark.parametrize("machine_name", ["x86_64", "aarch64"])
def test_the_default_build_is_pinned(machine_name: str, stage0: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def obtain(url: str, sha256: str, target: str) -> None:
        asked.append((url, sha256))
        raise stage0.Failure(stage0.NETWORK, "enough")

    monkeypatch.setattr(stage0, "obtain", obtain)
    monkeypatch.setattr(stage0, "remove_unfinished", lambda: None)
    monkeypatch.setattr(stage0.os, "uname", lambda: ("Linux", "droplet", "6.1", "#1", machine_name))

    with pytest.raises(stage0.Failure):
        stage0.install_private_python({})

    [(url, sha256)] = asked
    assert url.endswith(f"-{machine_name}-unknown-linux-gnu-install_only_stripped.tar.gz")
    assert stage0.is_https(url)
    assert len(sha256) == 64


def attack(*members: tuple[str, dict[str, object]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, options in members:
            add(tar, name, **options)  # type: ignore[arg-type]
    return packed.getvalue()


BODY: dict[str, object] = {"body": b"planted"}
ATTACKS = {
    "parent": attack(("python/../../planted", BODY)),
    "absolute": attack(("/planted-by-droplan-tests", BODY)),
    "beside": attack(("../.python.unpacked-beside", BODY)),
    "link-out": attack(("python/out", {"link": "../../.."})),
    "absolute-link": attack(("python/out", {"link": "/etc"})),
    "link-to-the-directory-itself-and-up": attack(
        ("a/b/up", {"link": "../.."}), ("out", {"link": "a/b/up/.."}), ("out/planted", BODY)
    ),
    "through-a-link": attack(("python/lib", {"link": "bin"}), ("python/lib/planted", BODY)),
    "device": attack(("python/null", {"kind": tarfile.CHRTYPE})),
    "pipe": attack(("python/pipe", {"kind": tarfile.FIFOTYPE})),
}


@pytest.mark.parametrize("python", TOO_OLD)
@pytest.mark.parametrize("body", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_archive_that_would_write_elsewhere_is_refused(
    body: bytes, python: str, distribution: Distribution, published: Published, server: LoopbackServer
) -> None:
    droplet = distribution.droplet
    url = server.offer("/attack.tar.gz", Reply(body))
    sha256 = hashlib.sha256(body).hexdigest()

    outcome = droplet.run(
        *(python or distribution.python, *published.arguments, "--python-url", url, "--python-sha256", sha256),
        environment=published.trust,
    )

    assert outcome.code == 20, outcome.stderr
    assert "would write outside its directory" in outcome.last_line
    assert droplet.left_behind == [droplet.pyz.name]
    assert list(droplet.opt.iterdir()) == [droplet.directory]


@pytest.mark.parametrize("percent", [5, 50, 99])
def test_an_archive_that_is_damaged_is_refused(
    percent: int,
    distribution: Distribution,
    published: Published,
    private_python: PrivatePython,
    server: LoopbackServer,
) -> None:
    body = private_python.body[: len(private_python.body) * percent // 100]
    url = server.offer("/damaged.tar.gz", Reply(body))

    outcome = distribution.droplet.run(
        *(distribution.python, *published.arguments, "--python-url", url),
        *("--python-sha256", hashlib.sha256(body).hexdigest()),
        environment=published.trust,
    )

    assert outcome.code == 20, outcome.stderr
    assert "is damaged" in outcome.last_line
