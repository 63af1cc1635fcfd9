"""The little of the DigitalOcean API that Terraform needs for Droplets."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

DEADLINE = 60.0


class ApiError(Exception):
    """The API refused; the text is what it said."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}")


class ApiClient:
    """Speaks to ``DIGITALOCEAN_API_URL`` as ``DIGITALOCEAN_TOKEN``; a test's CA is named by ``SSL_CERT_FILE``."""

    def __init__(self) -> None:
        self._url = os.environ["DIGITALOCEAN_API_URL"].rstrip("/")
        self._token = os.environ["DIGITALOCEAN_TOKEN"]

    def create(self, droplet: dict[str, Any]) -> dict[str, Any]:
        """Create a Droplet and wait until it is active and has its private address.

        Raises:
            ApiError: it was refused, or did not become active in time.
        """
        number = self._ask("POST", "/v2/droplets", droplet)["droplet"]["id"]
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            found = self.find(number)
            if found and found["status"] == "active" and address(found, "private"):
                return found
            time.sleep(0.05)
        raise ApiError(504, f"Droplet {number} did not become active")

    def find(self, number: int) -> dict[str, Any] | None:
        """Return a Droplet, or None if there is none of that number."""
        try:
            found: dict[str, Any] = self._ask("GET", f"/v2/droplets/{number}")["droplet"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def destroy(self, number: int) -> None:
        """Destroy a Droplet; one that is gone already is fine."""
        try:
            self._ask("DELETE", f"/v2/droplets/{number}")
        except ApiError as error:
            if error.status != 404:
                raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(self._url + path, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode() if body is not None else None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, data=data, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                message = json.loads(error.read() or b"{}").get("message", error.reason)
            raise ApiError(error.code, message) from None


def address(droplet: dict[str, Any], kind: str) -> str | None:
    """Return a Droplet's first IPv4 address of a kind, ``public`` or ``private``."""
    return next((entry["ip_address"] for entry in droplet["networks"]["v4"] if entry["type"] == kind), None)
