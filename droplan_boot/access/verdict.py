"""Say whether a policy lets a packet in, and why. Pure: it judges the policy, not the rules that spell it."""

from __future__ import annotations

from dataclasses import dataclass

from droplan_boot.access.allow import Allow
from droplan_boot.access.policy import Segment
from droplan_boot.networks import Address


@dataclass(frozen=True)
class Verdict:
    """What becomes of a packet that opens something new.

    Args:
        accept: whether it comes in.
        reason: why: ``peer``, ``allowed`` (by ``entry``) or ``stranger``.
        entry: the entry of DROPLAN_ALLOW that lets it in; None where another reason decides.
    """

    accept: bool
    reason: str
    entry: Allow | None = None


def judge(segment: Segment, source: Address, protocol: str, port: int) -> Verdict:
    """Judge a packet.

    Args:
        segment: the network that it comes in from.
        source: its sender.
        protocol: such as ``tcp``.
        port: destination port, as the sender asked for it.
    """
    if source in segment.peers:
        return Verdict(True, "peer")
    for entry in segment.allow:
        if entry.covers(source, protocol, port):
            return Verdict(True, "allowed", entry)
    return Verdict(False, "stranger")
