"""A member of a fleet in the lab: the real program against the real engine, with packets for judges.

No token is on it. What goes wrong is data: each fault keeps the rules, byte for byte, is told by status, and heals.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from droplan_boot.host import openssl
from droplan_boot.host.command import Commands
from droplan_boot.publish import lease
from droplan_boot.sources.shared import head
from droplan_boot.sources.shared.head import Head
from droplan_boot.sources.shared.store import base_name
from tests.bed import ca
from tests.bed.account import ListedDroplet
from tests.bed.droplet import API_ADDRESS
from tests.bed.faults import GONE, Fault
from tests.bed.program import SETTINGS, Program, succeeded
from tests.bed.reach import Reach, probe
from tests.bed.shared.engine import OWNER, READER, Engine
from tests.bed.shared.fleet import Keys
from tests.bed.shared.proxy import Passed, Proxy, StoreFault
from tests.bed.world import Lab

PEER = Reach(tcp=True, udp=True, icmp=True)  # private networks carry IPv4
HOST, PORT = "nyc3.digitaloceanspaces.com", 8443
FLEET = f"https://{HOST}:{PORT}/lab/prod"


@dataclass
class Member:
    """droplan on a lab's Droplet that is a member of a fleet, and the hands of whoever means it ill."""

    program: Program
    proxy: Proxy
    engine: Engine
    keys: Keys
    trust: str
    fleet: str = FLEET

    def publish(self, *words: str) -> None:
        """Publish what the API lists now, as the Droplet has the publisher's files too."""
        succeeded(self.program.run("publish", "--once"))

    def refresh(self) -> int:
        """Refresh as the schedule does; another fleet than the settings' is named beside it."""
        other = {} if self.fleet == FLEET else {"DROPLAN_SHARED": self.fleet}
        return self.program.run("refresh", "--scheduled", **other).returncode

    def get(self, name: str) -> bytes:
        return self.engine.ask("GET", f"{self.engine.url}{self.place}{name}")

    def put(self, name: str, body: bytes) -> None:
        self.engine.ask("PUT", f"{self.engine.url}{self.place}{name}", body)

    def delete(self, name: str) -> None:
        self.engine.ask("DELETE", f"{self.engine.url}{self.place}{name}")

    def head(self) -> Head:
        return head.verified(Commands(), self.get("head"), [self.keys.public], self.fleet)

    def lease(self) -> lease.Lease:
        return lease.parse(self.get("lease"))

    def sign(self, keys: Keys | None = None, **changes: object) -> None:
        """Put the head there with changes, signed all the same, by the fleet's key or another."""
        text = head.payload(dataclasses.replace(self.head(), **changes))  # type: ignore[arg-type]
        self.put("head", head.render(text, openssl.sign(Commands(), (keys or self.keys).private, text)))

    @property
    def place(self) -> str:
        return f"/lab/{self.fleet.rpartition('/')[2]}/"


@pytest.fixture(scope="module")
def member(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """A lab whose Droplet has joined a fleet, and whose API lists it and its peers."""
    engine.bucket("lab")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca.server(HOST))
    with Lab("nft") as lab, Proxy(engine.url, lab.listener(PORT), tls) as proxy:
        program = Program(lab)
        hosts = lab.droplet.path("/etc/hosts")
        hosts.write_text(f"{hosts.read_text()}{API_ADDRESS} {HOST}\n")
        trust = succeeded(program.download("fleet", "key", "/root/fleet.key")).stdout.strip()
        publish = (
            f"DO_KEY={lab.token}\nDROPLAN_SHARED={FLEET}\nDROPLAN_SHARED_KEY={':'.join(OWNER)}\n"
            "DROPLAN_SIGNING_KEY=/root/fleet.key\n"
        )
        lab.droplet.path("/etc/droplan").mkdir(mode=0o755)
        lab.droplet.path("/etc/droplan/publish.env").write_text(publish)
        lab.droplet.path("/etc/droplan/publish.env").chmod(0o600)
        succeeded(program.download("publish", "--once"))
        succeeded(
            program.download(
                "install",
                DROPLAN_SHARED=FLEET,
                DROPLAN_SHARED_KEY=":".join(READER),
                DROPLAN_SHARED_TRUST=trust,
            )
        )
        private = tmp_path_factory.mktemp("lab") / "key"
        private.write_text(lab.droplet.path("/root/fleet.key").read_text())
        yield Member(program, proxy, engine, Keys(private, trust), trust)


def test_the_private_key_is_for_root_alone(member: Member) -> None:
    assert member.program.droplet.path("/root/fleet.key").stat().st_mode & 0o7777 == 0o600
    again = member.program.run("fleet", "key", "/root/fleet.key")
    assert again.returncode == 4
    assert "is there already" in again.stderr


def test_a_member_closes_and_opens_without_any_token(member: Member) -> None:
    lab = member.program.lab
    assert "DO_KEY" not in member.program.read(SETTINGS)
    assert lab.token not in member.program.read(SETTINGS)
    assert probe(lab.peers[0], lab.droplet) == PEER
    assert probe(lab.stranger, lab.droplet).nothing


def test_a_droplet_comes_and_goes(member: Member) -> None:
    lab = member.program.lab
    stranger = dataclasses.replace(lab.peer_droplets[0], id=777, name="new", private=lab.stranger.address)
    lab.do.add(stranger)
    member.publish()
    assert member.refresh() == 0
    assert probe(lab.stranger, lab.droplet) == PEER
    lab.do.remove(777)
    member.publish()
    assert member.refresh() == 0
    assert probe(lab.stranger, lab.droplet).nothing
    assert probe(lab.peers[0], lab.droplet) == PEER


def test_a_droplet_that_is_not_listed_yet_takes_its_peers_and_says_so(member: Member) -> None:
    lab = member.program.lab
    lab.do.remove(lab.own_droplet)
    member.publish()
    done = succeeded(member.program.run("refresh"))
    assert "not in the fleet's list yet" in done.stdout
    assert probe(lab.peers[0], lab.droplet) == PEER
    status = member.program.run("status")
    assert status.returncode == 5
    assert "not in the fleet's list yet" in re.sub(r"\s+", " ", status.stdout)
    lab.do.add(lab.own_droplet)
    member.publish()
    assert member.refresh() == 0
    assert member.program.run("status").returncode == 0


def test_the_fleet_is_shown_from_anywhere_with_the_read_key(member: Member) -> None:
    shown = succeeded(
        member.program.download(
            "fleet", DROPLAN_SHARED=FLEET, DROPLAN_SHARED_KEY=":".join(READER), DROPLAN_SHARED_TRUST=member.trust
        )
    ).stdout
    assert FLEET in shown
    assert f"version    {member.head().version}, written by" in shown
    assert "members look every 5 s" in shown
    found = json.loads(succeeded(member.program.run("fleet", "--json")).stdout)
    assert (found["fleet"], found["version"], found["verdict"]) == (FLEET, member.head().version, "fresh")


def test_what_reads_only_the_snapshot_needs_no_store(member: Member) -> None:
    member.proxy.fault(StoreFault(reset=True))
    before = member.program.rules()
    succeeded(member.program.run("restore"))
    assert member.program.rules() == before
    member.proxy.fault()
    assert member.refresh() == 0


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong: by the network, or by whoever can write to the bucket."""

    name: str
    fault: StoreFault | None = None
    harm: Callable[[Member], None] = field(default=lambda member: None)
    says: str = ""


def _replayed(member: Member) -> None:
    old = member.get("head")
    member.publish()
    assert member.refresh() == 0
    member.put("head", old)


def _forged(member: Member, **changes: object) -> None:
    private = member.keys.private.with_name("forger")
    private.write_text(openssl.make_key(Commands()))
    forger = Keys(private, openssl.public_key(Commands(), private.read_text()))
    member.sign(forger, version=member.head().version + 1, **{"key": head.key_id(forger.public), **changes})


def _admitting(member: Member) -> None:
    """Write the stranger into a head without being able to sign it."""
    row = [777, "new", "nyc3", ["web"], "vpc", [member.program.lab.stranger.address], []]
    text = head.payload(dataclasses.replace(member.head(), version=member.head().version + 1, changes=(row,)))
    member.put("head", head.render(text, member.get("head").split(b"\n")[1].decode()))


def _other_base(member: Member) -> None:
    """Put other bytes under the base's name, and have the member need it."""
    member.put(member.head().base.name, member.get(member.head().base.name)[:-7] + b"forgery")
    member.program.droplet.path("/var/lib/droplan/shared.base").unlink()


def _no_base(member: Member) -> None:
    member.delete(member.head().base.name)
    member.program.droplet.path("/var/lib/droplan/shared.base").unlink()


def _fresh(member: Member) -> None:
    """Have the member need the base, as a new one does."""
    member.program.droplet.path("/var/lib/droplan/shared.base").unlink()


TROUBLES = (
    Trouble("store down", StoreFault(reset=True)),
    Trouble("store too slow", StoreFault(delay=40), says="gives no answer"),
    Trouble("store throttles", StoreFault(status=503), says="503"),
    Trouble("store answers 403", StoreFault(status=403), says="403"),
    Trouble("store answers 500", StoreFault(status=500), says="500"),
    Trouble("store redirects", StoreFault(status=302), says="302"),
    Trouble("truncated head", StoreFault(path="head", cut=200)),
    Trouble("head of no sense", StoreFault(path="head", body=b"{}")),
    Trouble("head gone", harm=lambda member: member.delete("head")),
    Trouble("base missing", harm=_no_base),
    Trouble("base refused", StoreFault(path="base/", status=500), harm=_fresh, says="500"),
    Trouble("truncated base", StoreFault(path="base/", cut=100), harm=_fresh),
    Trouble("base of other bytes", StoreFault(path="base/", body=b"x" * 300), harm=_fresh, says="does not have the"),
    Trouble("half-written base", harm=_other_base, says="does not have the hash"),
    Trouble("replayed old head", harm=_replayed, says="older than"),
    Trouble("head of another fleet", harm=lambda member: member.sign(fleet=FLEET + "-2"), says="another fleet"),
    Trouble("forged head", harm=_forged, says="is not trusted here"),
    Trouble(
        "forged head that claims our key",
        harm=lambda member: _forged(member, key=head.key_id(member.trust)),
        says="its signature is wrong",
    ),
    Trouble("head with a stranger in it", harm=_admitting, says="its signature is wrong"),
    Trouble(
        "expired head",
        harm=lambda member: member.sign(issued=member.head().issued - 1300, expires=member.head().expires - 1300),
        says="it expired",
    ),
    Trouble(
        "clock 20 min off",
        harm=lambda member: member.sign(issued=member.head().issued + 1200, expires=member.head().expires + 1200),
        says="set this machine's clock",
    ),
    Trouble("read key revoked", harm=lambda member: member.engine.revoke("lab"), says="403"),
)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_whatever_goes_wrong_keeps_the_rules_is_told_and_heals(member: Member, trouble: Trouble) -> None:
    lab = member.program.lab
    member.proxy.fault()
    member.publish()
    assert member.refresh() == 0
    before = member.program.rules()

    trouble.harm(member)
    member.proxy.fault(*([trouble.fault] if trouble.fault else []))
    assert member.refresh() == 1
    assert member.program.rules() == before
    assert trouble.says in (member.program.report()["error"] or "")
    assert member.program.run("status").returncode == 5
    assert "fleet" in member.program.problems()
    assert probe(lab.peers[0], lab.droplet) == PEER
    assert probe(lab.stranger, lab.droplet).nothing

    member.proxy.fault()
    member.engine.bucket("lab")
    member.publish()
    assert member.refresh() == 0
    assert member.program.rules() == before
    assert member.program.run("status").returncode == 0


def test_a_slow_store_is_waited_for(member: Member) -> None:
    member.proxy.fault(StoreFault(delay=2))
    assert member.refresh() == 0
    member.proxy.fault()


@pytest.mark.parametrize("verb", ["poll", "watch"])
def test_the_polling_child_refreshes_when_the_head_changed_and_else_asks_little(member: Member, verb: str) -> None:
    lab = member.program.lab
    child = lab.droplet.popen(["/opt/droplan/droplan", verb])
    try:
        member.proxy.passed.clear()
        stranger = dataclasses.replace(lab.peer_droplets[0], id=778, name="new", private=lab.stranger.address)
        lab.do.add(stranger)
        member.publish()
        _until(lambda: probe(lab.stranger, lab.droplet) == PEER)
        lab.do.remove(778)
        member.publish()
        _until(lambda: probe(lab.stranger, lab.droplet).nothing)
        _until(lambda: any(each.status == 304 for each in member.proxy.passed))
        unchanged = [each for each in member.proxy.passed if each.status == 304]
        assert max(each.sent + each.received for each in unchanged) <= 1024
    finally:
        os.kill(_inside(child), signal.SIGTERM)
        child.communicate()
    lab.droplet.run(["sh", "-c", "! pgrep -f '[d]roplan poll'"])  # the watcher takes its child with it


@dataclass(frozen=True)
class Upset:
    """Something that goes wrong between a publisher and its store.

    Attributes:
        fault: of what it writes.
        harm: what somebody does to the bucket.
    """

    name: str
    fault: StoreFault | None = None
    harm: Callable[[Member], None] = field(default=lambda member: None)


def _half_a_base(member: Member) -> None:
    name = member.head().base.name
    member.put(name, member.get(name)[:100])


UPSETS = (
    Upset("writes are cut off, and were done", StoreFault(reset=True, done=True)),
    Upset("writes answer 500, and were done", StoreFault(status=500, done=True)),
    Upset("the key that writes is revoked", StoreFault(status=403)),
    Upset("writes hang", StoreFault(delay=11, status=504)),
    Upset("head gone", harm=lambda member: member.delete("head")),
    Upset("lease gone", harm=lambda member: member.delete("lease")),
    Upset("half-written base", harm=_half_a_base),
)


@dataclass
class Published:
    """A fleet with an account, publishers and a place in the bucket of its own, by which the member may refresh.

    Attributes:
        member: the lab's, as one of this fleet.
        number: unlike that of any other fleet.
        led: who had the lease when the leading one was frozen.
        running: its publishers, as droplan-publish.service runs them.
    """

    member: Member
    number: int
    led: str = ""
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def account(self, *newcomers: ListedDroplet) -> None:
        """Let the API list the lab's Droplets to its token, and these."""
        lab = self.member.program.lab
        lab.do.set_droplets([lab.own_droplet, *lab.peer_droplets, *newcomers], token=self._token)

    def start(self) -> None:
        """Start one publisher more, which sees a publish.env of its own in the place of the lab's."""
        droplet, place = self.member.program.droplet, f"/root/publish-{self.number}.env"
        text = self.member.program.read("/etc/droplan/publish.env").replace(FLEET, self.member.fleet)
        droplet.path(place).write_text(text.replace(self.member.program.lab.token, self._token))
        droplet.path(place).chmod(0o600)
        run = f"exec /opt/droplan/droplan publish >>{self._log} 2>&1"
        shell = f"mount --bind {place} /etc/droplan/publish.env && {run}"
        self.running.append(droplet.popen(["unshare", "--mount", "sh", "-c", shell], stdout=None, stderr=None))

    def stop(self) -> None:
        """End its publishers."""
        alive = [each for each in self.running if each.poll() is None]
        for publisher in alive:
            os.kill(_inside(publisher), signal.SIGTERM)
            os.kill(_inside(publisher), signal.SIGCONT)
            os.kill(publisher.pid, signal.SIGCONT)  # nsenter stops with the program in it
        for publisher in alive:
            publisher.wait(60)

    def said(self) -> str:
        """Tell what its publishers said."""
        return self.member.program.read(self._log)

    def lists(self, newcomers: int) -> bool:
        """Whether lease, head and the head's base are there, and whole, with so many besides the lab's Droplets."""
        lab = self.member.program.lab
        try:
            found = self.member.head()
            whole = base_name(self.member.get(found.base.name)) == found.base.name
            return (
                whole
                and bool(self.member.lease().holder)
                and found.droplets == 1 + len(lab.peer_droplets) + newcomers
            )
        except AssertionError:  # the store lacks one of them
            return False

    def alive(self) -> bool:
        """Whether its publishers still are the processes that they were."""
        return all(each.poll() is None for each in self.running)

    @property
    def _token(self) -> str:
        return f"dop_v1_{self.number:064x}"

    @property
    def _log(self) -> str:
        return f"/root/publish-{self.number}.log"


@pytest.fixture(scope="module")
def published(member: Member) -> Iterator[dict[str, Published]]:
    """A fleet for each upset, one for the API's, and one with two publishers, of which the leading one is frozen.

    All at once, because waiting is most of what they do: the frozen one's lease lapses while others are upset.
    """
    member.proxy.fault()
    names = [*(upset.name for upset in UPSETS), "API", "frozen"]
    with contextlib.ExitStack() as undo:
        fleets = {
            name: Published(dataclasses.replace(member, fleet=f"{FLEET}-{number}"), number)
            for number, name in enumerate(names)
        }
        for fleet in fleets.values():
            fleet.account()
            undo.callback(fleet.stop)
            fleet.start()
        _all(fleets, lambda fleet: fleet.lists(0))
        pair = fleets["frozen"]
        pair.start()
        _until(lambda: bool(pair.member.lease().standby))
        pair.led = pair.member.lease().holder
        os.kill(_inside(pair.running[0]), signal.SIGSTOP)
        yield fleets
    assert member.refresh() == 0


def test_publishers_whose_store_is_upset_live_on_cut_nobody_and_heal(
    member: Member, published: dict[str, Published]
) -> None:
    lab = member.program.lab
    fleets = {upset.name: published[upset.name] for upset in UPSETS}
    before = {name: fleet.member.head().version for name, fleet in fleets.items()}
    assert member.refresh() == 0
    rules = member.program.rules()

    def all_keep_the_rules() -> None:
        for name, fleet in fleets.items():
            fleet.member.refresh()  # which may find nothing that it believes
            assert member.program.rules() == rules, name

    member.proxy.passed.clear()
    faults = ((fleets[upset.name], upset.fault) for upset in UPSETS if upset.fault)
    member.proxy.fault(*(dataclasses.replace(fault, path=f"PUT {each.member.place}") for each, fault in faults))
    for upset in UPSETS:
        upset.harm(fleets[upset.name].member)
    all_keep_the_rules()
    _all(fleets, lambda fleet: any(_writes(each, fleet.member) for each in member.proxy.passed))
    _all(fleets, lambda fleet: fleet.lists(0))  # what was harmed is put right without any news
    all_keep_the_rules()
    assert probe(lab.peers[0], lab.droplet) == PEER
    assert probe(lab.stranger, lab.droplet).nothing

    # News arrives again, from the same processes.
    member.proxy.fault()
    for fleet in fleets.values():
        fleet.account(_newcomer(member, 779))
    _all(fleets, lambda fleet: fleet.lists(1))
    for name, fleet in fleets.items():
        assert fleet.member.refresh() == 0, name
        assert probe(lab.stranger, lab.droplet) == PEER, name
        assert fleet.member.head().version > before[name], name
        assert fleet.alive(), name
    assert member.refresh() == 0
    assert member.program.rules() == rules


def test_a_publisher_whose_api_is_upset_lives_on_cuts_nobody_and_heals(
    member: Member, published: dict[str, Published]
) -> None:
    fleet, lab = published["API"], member.program.lab
    member.proxy.fault()
    assert fleet.member.refresh() == 0
    rules = member.program.rules()

    lab.do.fault(Fault(reset=True))
    fleet.account(_newcomer(member, 780))
    _until(lambda: "gives no answer" in fleet.said())
    assert fleet.member.refresh() == 0
    assert member.program.rules() == rules

    # It answers again, with a list that lacks a peer, who is asked about by number before anybody cuts him off.
    lab.do.clear_faults()
    lab.do.fault(Fault(path=r"/v2/droplets\?per_page=\d+&page=1", patch={"/droplets/1": GONE}))
    _until(lambda: fleet.member.refresh() == 0 and probe(lab.stranger, lab.droplet) == PEER)
    assert probe(lab.peers[0], lab.droplet) == PEER
    assert fleet.alive()
    lab.do.clear_faults()
    assert member.refresh() == 0
    assert member.program.rules() == rules


def test_one_that_was_frozen_writes_nothing_when_the_other_has_taken_over(
    member: Member, published: dict[str, Published]
) -> None:
    fleet, lab = published["frozen"], member.program.lab
    mine, first = fleet.member, fleet.running[0]
    member.proxy.fault()
    lab.do.clear_faults()
    _until(lambda: mine.lease().holder not in ("", fleet.led), 120)
    frozen = mine.head()
    fleet.account(_newcomer(member, 781))
    _until(lambda: mine.refresh() == 0 and probe(lab.stranger, lab.droplet) == PEER)
    assert mine.head().version > frozen.version
    seen: dict[int, bytes] = {}
    os.kill(_inside(first), signal.SIGCONT)

    def stands_by() -> bool:
        """Whether it has found out; no version has two heads meanwhile."""
        body = mine.get("head")
        assert seen.setdefault(head.claimed_version(body), body) == body
        return fleet.led in dict(mine.lease().standby)

    _until(stands_by)
    assert mine.lease().holder not in ("", fleet.led)
    assert mine.refresh() == 0
    assert probe(lab.stranger, lab.droplet) == PEER
    fleet.account()
    _until(lambda: mine.refresh() == 0 and probe(lab.stranger, lab.droplet).nothing)


def _newcomer(member: Member, number: int) -> ListedDroplet:
    """Return a Droplet that has the stranger's address."""
    lab = member.program.lab
    return dataclasses.replace(lab.peer_droplets[0], id=number, name="new", private=lab.stranger.address)


def _writes(passed: Passed, member: Member) -> bool:
    return passed.method == "PUT" and passed.path.startswith(member.place)


def _all(fleets: Mapping[str, Published], true: Callable[[Published], bool]) -> None:
    """Wait until something is so of all fleets."""
    late = dict(fleets)

    def none_is_late() -> bool:
        for name in [name for name, fleet in late.items() if true(fleet)]:
            del late[name]
        return not late

    try:
        _until(none_is_late, 180)  # so many publishers on two cores
    except AssertionError:
        raise AssertionError({name: fleet.said()[-2000:] for name, fleet in late.items()}) from None


def _inside(command: subprocess.Popen[str]) -> int:
    """Find the program behind what entered its namespaces."""
    inside = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    return int(inside[0]) if inside else command.pid


def _until(true: Callable[[], bool], patience: int = 120) -> None:
    """Look again and again, for what comes within a few of the member's intervals."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
