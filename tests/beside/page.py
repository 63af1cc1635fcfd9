"""Write docs/beside.md: what happens beside which program, as tests/beside/ tries it.

    .cache/venv/bin/python -m tests.beside.page

does so, after a change of tests/beside/scenarios/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.bed.beside.program import Event, Program
from tests.beside.scenarios import PROGRAMS

PAGE: Final = Path(__file__).parents[2] / "docs" / "beside.md"

_HEAD: Final = """\
# Beside other programs

Other programs write firewall rules too, and replace, flush and reload them. What that does to droplan was tried with
the programs themselves, Debian's packages, while a stranger and a peer knocked 50 times a second at each of the
Droplet's ports: by IPv4, by IPv6, at a published port, and at the private address over the public network. What
Kubernetes' programs and Tailscale write was taken as rules. Each line below is a test (tests/beside/).

- **Strangers**: "out" means that not one of their knocks was answered, before, while and after it happened. "out by
  IPv4" says that by IPv6 they could get in until droplan's next run. Where it says "in until the next run", they
  could by both.
- **Peers**: "in" means that not one of theirs was lost. Where it says "pause", the program itself keeps everyone out
  for that time, droplan or not, and peers were back in as soon as it had done its work.
- Rules of others were the same before and after droplan ran, and in their order: what they put above ours stays.

Without nftables the guard is a chain in the mangle table: there a flush of that table opens until the next run.

"""

_FOOT: Final = """
## What passes by

**macvlan and ipvlan children of the private card**, and **guests bridged to it**, have an address of their own in the
private network. Their packets leave the card for the child or the bridge's port before the host's IP hooks, where
droplan's rules are (and everyone else's): strangers reach them as if they were machines of their own, which for the
network they are. Run droplan inside, where the guest is a machine with a firewall; or give containers a network that
the host routes (Docker's and Podman's default), which the guard covers.

The Droplet itself stays closed to strangers beside them. Guests reach it only by what `DROPLAN_ALLOW` names, as their
addresses are none of the account's.

Bridged guests are seen by the host's rules where `net.bridge.bridge-nf-call-iptables` is 1 (Docker and Kubernetes set
it), and only there.

DigitalOcean drops what does not carry a Droplet's own address and MAC: there such guests reach nothing, and nothing
reaches them, unless they share an address of the Droplet's.

Cilium and other programs that take packets in eBPF, at the card or before netfilter, pass all netfilter rules by.
"""


def render() -> str:
    """Return the page."""
    return _HEAD + "\n".join(_section(program) for program in PROGRAMS) + _FOOT


def _section(program: Program) -> str:
    name = program.name[0].upper() + program.name[1:] if program.name.islower() else program.name
    rows = []
    if True in program.orders:
        rows.append(_row("installed after droplan", "out", program, program.install_pauses))
    if False in program.orders:
        rows.append(_row("installed before droplan", "out as soon as droplan is installed", program, ""))
    rows += [_row(event.name, _strangers(event), program, event.pauses) for event in program.events]
    needs = (
        f"Where the kernel knows no {program.needs}, these tests are skipped. On Debian's own kernel, in a virtual\n"
        "machine, packets are judged every night: `tests/system/test_own_kernel.py`.\n\n"
        if program.needs
        else ""
    )
    return f"## {name}\n\n{needs}| what happens | strangers | peers |\n|---|---|---|\n" + "".join(rows)


def _row(what: str, strangers: str, program: Program, pauses: str) -> str:
    peers = f"pause: {pauses}" if pauses else "in"
    return f"| {what} | {strangers} | {peers if program.peers_in else 'kept out by its own rules'} |\n"


def _strangers(event: Event) -> str:
    if event.opens:
        return f"in until the next run: {event.opens}"
    return f"out by IPv4: {event.opens_ipv6}" if event.opens_ipv6 else "out"


if __name__ == "__main__":
    PAGE.write_text(render())
