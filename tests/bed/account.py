"""What DigitalOcean says about Droplets: the shapes of its API and of its metadata service.

The shapes follow digitalocean/openapi and a real Droplet's /metadata/v1.json, at their real size (about 3 KB for
each Droplet in a listing), so that what is measured against the stand-in means something.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

REGION = "nyc3"
VPC = "760e09ef-dc84-11e8-981e-3cfdfeaae000"


@dataclass(frozen=True)
class ListedDroplet:
    """A Droplet as its account lists it.

    Attributes:
        private: its address in the VPC; None while it has none yet.
        public: its public IPv4 address, public6 its public IPv6 address; None when it has none.
        gpu: GPU Droplets are missing from the plain list.
    """

    id: int
    name: str
    private: str | None = None
    public: str | None = None
    public6: str | None = None
    region: str = REGION
    vpc: str = VPC
    tags: tuple[str, ...] = ()
    status: str = "active"
    gpu: bool = False

    def listing(self) -> dict[str, Any]:
        """Return the object that GET /v2/droplets shows for this Droplet."""
        return {
            "id": self.id,
            "name": self.name,
            "memory": 1024,
            "vcpus": 1,
            "disk": 25,
            "disk_info": [{"type": "local", "size": {"amount": 25, "unit": "gib"}}],
            "locked": False,
            "status": self.status,
            "kernel": None,
            "created_at": "2026-07-21T18:37:44Z",
            "features": ["backups", "private_networking", "ipv6", "monitoring", "droplet_agent"],
            "backup_ids": [53893572 + n for n in range(4)],
            "next_backup_window": {"start": "2026-11-30T00:00:00Z", "end": "2026-11-30T23:00:00Z"},
            "snapshot_ids": [67512819 + n for n in range(4)],
            "image": _image(),
            "volume_ids": ["506f78a4-e098-11e5-ad9f-000f53306ae1"],
            "size": _size(self.gpu),
            "size_slug": "gpu-h100x1-80gb" if self.gpu else "s-1vcpu-1gb",
            "networks": {"v4": self._v4(), "v6": self._v6()},
            "region": _region(self.region),
            "tags": list(self.tags),
            "vpc_uuid": self.vpc,
        }

    def _v4(self) -> list[dict[str, Any]]:
        networks = []
        if self.public:
            networks.append(
                {
                    "ip_address": self.public,
                    "netmask": "255.255.240.0",
                    "gateway": "104.236.32.1",
                    "type": "public",
                }
            )
        if self.private:
            networks.append(
                {"ip_address": self.private, "netmask": "255.255.0.0", "gateway": "nil", "type": "private"}
            )
        return networks

    def _v6(self) -> list[dict[str, Any]]:
        if not self.public6:
            return []
        return [
            {
                "ip_address": self.public6,
                "netmask": 64,
                "gateway": "2604:a880:0:1010::1",
                "type": "public",
            }
        ]


@dataclass(frozen=True)
class Nic:
    """One network interface of a Droplet, as the metadata service shows it."""

    mac: str
    ipv4: str
    netmask: str
    gateway: str
    ipv6: str | None = None


def metadata(
    droplet: ListedDroplet,
    public: Nic | None,
    private: Nic | None,
    *,
    anchor: str | None = None,
    user_data: str = "",
    vendor_data: str = "#cloud-config\n{}\n",
) -> dict[str, Any]:
    """Return the document that the Droplet reads at /metadata/v1.json.

    Args:
        droplet: whose document it is.
        public: its public interface; None leaves the list out, as for a Private Droplet.
        private: its private interface; None leaves the list out.
        anchor: the 10.x address on the public interface that reserved IPs are delivered to.
        user_data: what the Droplet was created with.
        vendor_data: what DigitalOcean adds to it.
    """
    interfaces: dict[str, Any] = {}
    if public:
        shown = _interface(public, "public")
        if anchor:
            shown["anchor_ipv4"] = {
                "ip_address": anchor,
                "netmask": "255.255.0.0",
                "gateway": anchor.rsplit(".", 2)[0] + ".0.1",
            }
        interfaces["public"] = [shown]
    if private:
        interfaces["private"] = [_interface(private, "private")]
    return {
        "droplet_id": droplet.id,
        "hostname": droplet.name,
        "user_data": user_data,
        "vendor_data": vendor_data,
        "public_keys": [],
        "region": droplet.region,
        "interfaces": interfaces,
        "floating_ip": {"ipv4": {"active": False}},
        "reserved_ip": {"ipv4": {"active": False}},
        "dns": {"nameservers": ["67.207.67.2", "67.207.67.3"]},
        "tags": list(droplet.tags),
        "features": {"dhcp_enabled": False},
    }


def fleet(count: int, *, first_id: int = 1000, region: str = REGION) -> list[ListedDroplet]:
    """Return ``count`` Droplets with private addresses from 10.132.16.0 on; none of them is alive in the lab."""
    return [
        ListedDroplet(
            id=first_id + n,
            name=f"fleet-{n}",
            private=f"10.132.{16 + n // 250}.{1 + n % 250}",
            public=f"104.236.{48 + n // 250}.{1 + n % 250}",
            region=region,
            tags=("fleet",),
        )
        for n in range(count)
    ]


def listing(droplet: ListedDroplet | Json) -> dict[str, Any]:
    """Return what the API shows: a Droplet's own shape, or any object a test made up."""
    return droplet.listing() if isinstance(droplet, ListedDroplet) else dict(droplet)


def created(request: Json, number: int, private: str) -> ListedDroplet:
    """Return the Droplet that POST /v2/droplets makes of a request.

    Args:
        request: the request's JSON body.
        number: the new Droplet's id.
        private: the address that the VPC gives it.
    """
    return ListedDroplet(
        id=number,
        name=str(request["name"]),
        private=private,
        region=str(request["region"]),
        vpc=str(request.get("vpc_uuid") or VPC),
        tags=tuple(request.get("tags") or ()),
    )


def unborn(droplet: ListedDroplet) -> ListedDroplet:
    """Return the Droplet as the answer to its creation shows it: without an address yet."""
    return dataclasses.replace(droplet, private=None, public=None, public6=None, status="new")


def _interface(nic: Nic, kind: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ipv4": {"ip_address": nic.ipv4, "netmask": nic.netmask, "gateway": nic.gateway},
        "mac": nic.mac,
        "type": kind,
    }
    if nic.ipv6:
        shown["ipv6"] = {"ip_address": nic.ipv6, "cidr": 64, "gateway": "2604:a880:0:1010::1"}
    return shown


def _image() -> dict[str, Any]:
    return {
        "id": 7555620,
        "name": "12 x64",
        "distribution": "Debian",
        "slug": "debian-12-x64",
        "public": True,
        "regions": ["nyc1", "nyc2", "nyc3", "ams3", "sfo2", "sfo3", "sgp1", "lon1", "fra1", "tor1", "blr1", "syd1"],
        "created_at": "2026-05-05T22:32:40Z",
        "min_disk_size": 7,
        "type": "base",
        "size_gigabytes": 2.34,
        "description": "Debian 12 x64",
        "tags": [],
        "status": "available",
    }


def _size(gpu: bool) -> dict[str, Any]:
    size: dict[str, Any] = {
        "slug": "gpu-h100x1-80gb" if gpu else "s-1vcpu-1gb",
        "memory": 1024,
        "vcpus": 1,
        "disk": 25,
        "transfer": 1.0,
        "price_monthly": 6.0,
        "price_hourly": 0.00893,
        "regions": ["ams3", "blr1", "fra1", "lon1", "nyc1", "nyc3", "sfo2", "sfo3", "sgp1", "syd1", "tor1"],
        "available": True,
        "description": "Basic",
        "networking_throughput": 2000,
    }
    if gpu:
        size["gpu_info"] = {"count": 1, "vram": {"amount": 80, "unit": "gib"}, "model": "nvidia_h100"}
    return size


def _region(slug: str) -> dict[str, Any]:
    return {
        "name": slug.upper(),
        "slug": slug,
        "features": ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"],
        "available": True,
        "sizes": [
            f"{family}-{vcpus}vcpu-{memory}gb"
            for family in ("s", "g", "c", "m", "so")
            for vcpus, memory in ((1, 1), (1, 2), (2, 2), (2, 4), (4, 8), (8, 16), (16, 64), (32, 128))
        ],
    }
