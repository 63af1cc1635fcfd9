"""The steps of script/build that handle files: prune what is not used, put our start-up code in the archive.

    assemble.py prune SITE_PACKAGES
    assemble.py seal SHIV_ARCHIVE RESULT

Both leave nothing that depends on who builds, where or when.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNUSED_DIRECTORIES = {"bin", "tests", "__pycache__"}
# What installers write for installers. METADATA and the licences stay.
UNUSED_METADATA = {
    "INSTALLER",
    "RECORD",
    "REQUESTED",
    "WHEEL",
    "direct_url.json",
    "entry_points.txt",
    "top_level.txt",
}


def prune(site_packages: Path) -> None:
    """Remove what is not used at run time and give all that stays the same modes."""
    for path in sorted(site_packages.rglob("*"), reverse=True):
        if path.is_dir():
            if path.name in UNUSED_DIRECTORIES:
                shutil.rmtree(path)
            else:
                path.chmod(0o755)
        elif path.parent.suffix == ".dist-info" and path.name in UNUSED_METADATA:
            path.unlink()
        else:
            path.chmod(0o644)


def seal(source: Path, target: Path) -> None:
    """Copy shiv's archive with pyz/__main__.py and pyz/unpack.py in the place of its start-up code.

    The build's id becomes a hash of everything, our start-up code included: it names the unpacked tree.
    """
    start = {name: (HERE / name).read_bytes() for name in ("__main__.py", "unpack.py")}
    with zipfile.ZipFile(source) as packed:
        environment = json.loads(packed.read("environment.json"))
        digest = hashlib.sha256(environment["build_id"].encode())
        for data in start.values():
            digest.update(data)
        build = environment["build_id"] = digest.hexdigest()[:16]
        start["__main__.py"] = start["__main__.py"].replace(b"@BUILD@", build.encode())
        start["environment.json"] = json.dumps(environment, indent=1, sort_keys=True).encode()
        entries = {n: packed.read(n) for n in packed.namelist() if n.startswith("site-packages/")}
        time = packed.infolist()[0].date_time
    with source.open("rb") as file:
        shebang = file.readline()
    with target.open("wb") as file:
        file.write(shebang)
        with zipfile.ZipFile(file, "w") as sealed:
            for name, data in sorted({**entries, **start}.items()):
                entry = zipfile.ZipInfo(name, time)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o100644 << 16
                sealed.writestr(entry, data)
    target.chmod(0o755)


if __name__ == "__main__":
    if sys.argv[1] == "prune":
        prune(Path(sys.argv[2]))
    else:
        seal(Path(sys.argv[2]), Path(sys.argv[3]))
