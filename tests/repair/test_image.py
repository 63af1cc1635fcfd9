"""An image of a Droplet that is booted as another one: everything becomes the other one's."""

from __future__ import annotations

import dataclasses
import json

from tests.bed import Lab, probe
from tests.bed.hosts import Link
from tests.bed.picture import difference, picture
from tests.bed.program import CRON, ERRORS, SNAPSHOT, Program

LINKS = (
    Link("eth0", "0a:00:68:ec:20:4d", ("104.236.32.77/20", "2604:a880:0:1010::4d/64")),
    Link("eth1", "0a:00:0a:84:00:4d", ("10.132.0.77/16",)),
)


def test_an_install_makes_it_the_new_droplets_as_if_it_were_the_first() -> None:
    with Lab() as lab:
        program = Program(lab)
        program.install()
        old_cron, old_droplet = program.read(CRON), lab.own_droplet

        # The old one lives on, and is a peer now; the new one has its disk.
        lab.droplet.links = LINKS
        lab.own_droplet = dataclasses.replace(
            old_droplet, id=3_164_450, name="web-2", private="10.132.0.77", public="104.236.32.77", public6=None
        )
        lab.do.set_droplets([lab.own_droplet, old_droplet, *lab.peer_droplets[1:]])
        lab.do.set_metadata("104.236.32.77", lab.metadata())
        lab.droplet.reboot()
        lab.droplet.run(["iptables-restore", "/etc/iptables/rules.v4"])  # what netfilter-persistent does

        program.install()
        assert program.read(CRON) != old_cron
        assert json.loads(program.read(SNAPSHOT))["droplet_id"] == 3_164_450
        assert program.chain("droplan-peers") == [
            ERRORS,
            *(
                f"-A droplan-peers -s {address}/32 -j ACCEPT"
                for address in sorted(
                    (old_droplet.private or "", *(each.private or "" for each in lab.peer_droplets[1:])),
                    key=lambda text: int(text.rpartition(".")[2]),
                )
            ),
        ]
        assert probe(lab.peers[1], lab.droplet).tcp
        assert probe(lab.peers[0], lab.droplet, patience=0.7).nothing, "it is in the account's list no more"
        found = picture(lab)

        assert program.download("uninstall").returncode == 0
        program.install()
        assert difference(picture(lab), found) == {}
