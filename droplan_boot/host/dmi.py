"""What the machine's firmware says of it, dmidecode(8): who this Droplet is, without any network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from droplan_boot.errors import DroplanError
from droplan_boot.host.files import Files

_DMI: Final = Path("/sys/class/dmi/id")


def droplet_id(files: Files) -> int | None:
    """Read this Droplet's number; None when it is not told here."""
    try:
        vendor, serial = (files.read(_DMI / name) or b"" for name in ("sys_vendor", "product_serial"))
    except DroplanError:
        return None
    number = serial.decode(errors="replace").strip()
    known = vendor.strip() == b"DigitalOcean" and re.fullmatch(r"[0-9]{1,19}", number)
    return int(number) if known else None
