"""The provider's resources, as far as the examples go. Schemas follow terraform-provider-digitalocean, version 2."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from tf.blocks import SetNestedBlock
from tf.iface import Resource
from tf.schema import Attribute, Block, Schema
from tf.types import Bool, Number, Set, String

from tests.bed.shared import desk
from tests.bed.terraform.stubprovider.api import ApiClient, ApiError, address

State = dict[str, Any]


def sha1(text: str) -> str:
    """Hash user data as the provider's StateFunc does, so that the state never holds it."""
    return hashlib.sha1(text.encode()).hexdigest()


class Base(Resource):  # type: ignore[misc] # tf ships no types
    """What the resources have in common: here nothing is ever changed in place."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider

    def read(self, ctx: Any, current: State) -> State | None:
        return current

    def update(self, ctx: Any, current: State, planned: State) -> State:
        ctx.diagnostics.add_error(f"The stub cannot change a {self.get_name()} in place")
        return current

    def delete(self, ctx: Any, current: State) -> None:
        return None


class DropletResource(Base):
    """digitalocean_droplet."""

    @classmethod
    def get_name(cls) -> str:
        return "droplet"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True),
                Attribute("image", String(), required=True, requires_replace=True),
                Attribute("size", String(), required=True),
                Attribute("region", String(), optional=True, computed=True, requires_replace=True),
                Attribute("vpc_uuid", String(), optional=True, computed=True, requires_replace=True),
                Attribute("tags", Set(String()), optional=True),
                Attribute("ssh_keys", Set(String()), optional=True, requires_replace=True),
                Attribute("user_data", String(), optional=True, requires_replace=True),
                Attribute("ipv6", Bool(), optional=True, computed=True, default=False),
                Attribute("monitoring", Bool(), optional=True, computed=True, default=False),
                Attribute("ipv4_address", String(), computed=True),
                Attribute("ipv4_address_private", String(), computed=True),
                Attribute("status", String(), computed=True),
                Attribute("urn", String(), computed=True),
            ],
        )

    def create(self, ctx: Any, planned: State) -> State | None:
        request = {
            key: planned[key]
            for key in ("name", "image", "size", "region", "vpc_uuid", "tags", "ssh_keys", "user_data", "ipv6")
            if isinstance(planned.get(key), (str, list, bool))
        }
        try:
            droplet = ApiClient().create(request)
        except ApiError as error:
            ctx.diagnostics.add_error(f"Error creating droplet: {error}")
            return None
        return self._state(planned, droplet)

    def read(self, ctx: Any, current: State) -> State | None:
        droplet = ApiClient().find(int(current["id"]))
        return self._state(current, droplet) if droplet else None

    def delete(self, ctx: Any, current: State) -> None:
        ApiClient().destroy(int(current["id"]))

    @staticmethod
    def _state(before: State, droplet: dict[str, Any]) -> State:
        return {
            **before,
            "id": str(droplet["id"]),
            "name": droplet["name"],
            "region": droplet["region"]["slug"],
            "vpc_uuid": droplet["vpc_uuid"],
            "tags": sorted(droplet["tags"]) if before["tags"] is not None else None,
            "ipv4_address": address(droplet, "public") or "",
            "ipv4_address_private": address(droplet, "private") or "",
            "status": droplet["status"],
            "urn": f"do:droplet:{droplet['id']}",
        }


class VpcResource(Base):
    """digitalocean_vpc."""

    @classmethod
    def get_name(cls) -> str:
        return "vpc"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True),
                Attribute("region", String(), required=True, requires_replace=True),
                Attribute("description", String(), optional=True),
                Attribute("ip_range", String(), optional=True, computed=True, requires_replace=True),
                Attribute("urn", String(), computed=True),
            ],
        )

    def create(self, ctx: Any, planned: State) -> State:
        number = str(uuid.uuid4())
        given = planned.get("ip_range")
        network = given if isinstance(given, str) else "10.110.0.0/20"
        return {"description": None, **planned, "id": number, "ip_range": network, "urn": f"do:vpc:{number}"}


class TagResource(Base):
    """digitalocean_tag."""

    @classmethod
    def get_name(cls) -> str:
        return "tag"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True, requires_replace=True),
            ],
        )

    def create(self, ctx: Any, planned: State) -> State:
        return {**planned, "id": planned["name"]}


def spaces() -> Path:
    """Return the folder that stands for Spaces: objects lie at BUCKET/KEY, for a test to look at or to serve."""
    return Path(os.environ["STUB_SPACES"])


def store(action: str, *arguments: str) -> Any:
    """Have the real object store do something; None where Spaces is but a folder."""
    return desk.ask(os.environ["STUB_STORE"], action, *arguments) if "STUB_STORE" in os.environ else None


class BucketResource(Base):
    """digitalocean_spaces_bucket."""

    @classmethod
    def get_name(cls) -> str:
        return "spaces_bucket"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True),
                Attribute("region", String(), optional=True, computed=True, default="nyc3", requires_replace=True),
                Attribute("acl", String(), optional=True, computed=True, default="private"),
                Attribute("force_destroy", Bool(), optional=True, computed=True, default=False),
                Attribute("bucket_domain_name", String(), computed=True),
                Attribute("endpoint", String(), computed=True),
                Attribute("urn", String(), computed=True),
            ],
        )

    def create(self, ctx: Any, planned: State) -> State:
        endpoint = f"{planned['region']}.digitaloceanspaces.com"
        (spaces() / planned["name"]).mkdir(parents=True)
        store("bucket", planned["name"])
        return {
            **planned,
            "id": planned["name"],
            "bucket_domain_name": f"{planned['name']}.{endpoint}",
            "endpoint": endpoint,
            "urn": f"do:space:{planned['name']}",
        }

    def delete(self, ctx: Any, current: State) -> None:
        folder = spaces() / current["name"]
        if not current["force_destroy"] and any(path.is_file() for path in folder.rglob("*")):
            ctx.diagnostics.add_error(f"Error deleting Spaces bucket: BucketNotEmpty: {current['name']}")
        else:
            shutil.rmtree(folder)
            store("delete_bucket", current["name"])


class KeyResource(Base):
    """digitalocean_spaces_key. The provider's grants are a list of blocks; of one, a set is no different."""

    @classmethod
    def get_name(cls) -> str:
        return "spaces_key"

    @classmethod
    def get_schema(cls) -> Schema:
        grant = [Attribute("bucket", String(), required=True), Attribute("permission", String(), required=True)]
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True),
                Attribute("access_key", String(), computed=True),
                Attribute("secret_key", String(), computed=True, sensitive=True),
                Attribute("created_at", String(), computed=True),
            ],
            block_types=[SetNestedBlock("grant", Block(attributes=grant))],
        )

    def create(self, ctx: Any, planned: State) -> State:
        (grant,) = planned["grant"]
        made = store("key", grant["bucket"], grant["permission"])
        identity, secret = made or (f"DO{uuid.uuid4().hex[:18].upper()}", f"secret-{uuid.uuid4().hex}")
        times = {"created_at": "2026-11-29T00:00:00Z"}
        return {**planned, **times, "id": identity, "access_key": identity, "secret_key": secret}

    def delete(self, ctx: Any, current: State) -> None:
        store("delete_key", current["id"])


class BucketObjectResource(Base):
    """digitalocean_spaces_bucket_object."""

    @classmethod
    def get_name(cls) -> str:
        return "spaces_bucket_object"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=1,
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("region", String(), required=True, requires_replace=True),
                Attribute("bucket", String(), required=True, requires_replace=True),
                Attribute("key", String(), required=True, requires_replace=True),
                Attribute("source", String(), optional=True),
                Attribute("etag", String(), optional=True, computed=True),
                Attribute("acl", String(), optional=True, computed=True, default="private"),
                Attribute("content_type", String(), optional=True, computed=True),
            ],
        )

    def create(self, ctx: Any, planned: State) -> State:
        place = spaces() / planned["bucket"] / planned["key"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(planned["source"], place)
        return {**planned, "id": planned["key"]}

    def delete(self, ctx: Any, current: State) -> None:
        (spaces() / current["bucket"] / current["key"]).unlink(missing_ok=True)


class LoadBalancerResource(Base):
    """digitalocean_loadbalancer."""

    @classmethod
    def get_name(cls) -> str:
        return "loadbalancer"

    @classmethod
    def get_schema(cls) -> Schema:
        rule = Block(
            attributes=[
                Attribute("entry_protocol", String(), required=True),
                Attribute("entry_port", Number(), required=True),
                Attribute("target_protocol", String(), required=True),
                Attribute("target_port", Number(), required=True),
            ]
        )
        check = Block(
            attributes=[Attribute("protocol", String(), required=True), Attribute("port", Number(), required=True)]
        )
        return Schema(
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True),
                Attribute("region", String(), optional=True, requires_replace=True),
                Attribute("vpc_uuid", String(), optional=True, computed=True, requires_replace=True),
                Attribute("droplet_tag", String(), optional=True),
                Attribute("ip", String(), computed=True),
                Attribute("urn", String(), computed=True),
            ],
            block_types=[SetNestedBlock("forwarding_rule", rule), SetNestedBlock("healthcheck", check)],
        )

    def create(self, ctx: Any, planned: State) -> State:
        number = str(uuid.uuid4())
        return {**planned, "id": number, "ip": "203.0.113.80", "urn": f"do:loadbalancer:{number}"}


class DatabaseClusterResource(Base):
    """digitalocean_database_cluster."""

    @classmethod
    def get_name(cls) -> str:
        return "database_cluster"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True, requires_replace=True),
                Attribute("engine", String(), required=True, requires_replace=True),
                Attribute("version", String(), optional=True),
                Attribute("size", String(), required=True),
                Attribute("region", String(), required=True),
                Attribute("node_count", Number(), required=True),
                Attribute("private_network_uuid", String(), optional=True, computed=True, requires_replace=True),
                Attribute("private_host", String(), computed=True),
                Attribute("urn", String(), computed=True),
            ],
        )

    def create(self, ctx: Any, planned: State) -> State:
        number = str(uuid.uuid4())
        host = f"private-{planned['name']}.db.example"
        return {**planned, "id": number, "private_host": host, "urn": f"do:dbaas:{number}"}


class DatabaseFirewallResource(Base):
    """digitalocean_database_firewall."""

    @classmethod
    def get_name(cls) -> str:
        return "database_firewall"

    @classmethod
    def get_schema(cls) -> Schema:
        rule = Block(
            attributes=[Attribute("type", String(), required=True), Attribute("value", String(), required=True)]
        )
        return Schema(
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("cluster_id", String(), required=True, requires_replace=True),
            ],
            block_types=[SetNestedBlock("rule", rule)],
        )

    def create(self, ctx: Any, planned: State) -> State:
        return {**planned, "id": f"{planned['cluster_id']}-rules"}


RESOURCES: list[type[Base]] = [
    DropletResource,
    VpcResource,
    TagResource,
    BucketResource,
    BucketObjectResource,
    KeyResource,
    LoadBalancerResource,
    DatabaseClusterResource,
    DatabaseFirewallResource,
]
