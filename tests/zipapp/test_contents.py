"""What is inside the zipapp, and beside it."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from droplan_boot import __version__
from tests.bed.cache import CHECKOUT

IMPORTABLE = {
    *("certifi", "charset_normalizer", "distro", "droplan_boot", "idna", "iptc"),
    *("requests", "requests_aws4auth", "urllib3"),
}


@pytest.fixture(scope="module")
def names(pyz: Path) -> list[str]:
    return zipfile.ZipFile(pyz).namelist()


def locked_versions() -> dict[str, str]:
    text = (CHECKOUT / "requirements/runtime.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


class TestArchive:
    def test_holds_our_start_up_code_and_packages_and_nothing_else(self, names: list[str]) -> None:
        assert {n for n in names if "/" not in n} == {"__main__.py", "environment.json", "unpack.py"}
        assert {n.split("/")[0] for n in names if "/" in n} == {"site-packages"}

    def test_holds_the_packages_that_run_and_their_metadata(self, names: list[str]) -> None:
        inside = {n.split("/")[1] for n in names if n.startswith("site-packages/")}
        versions = {**locked_versions(), "droplan-boot": __version__}
        metadata = {f"{name.replace('-', '_')}-{version}.dist-info" for name, version in versions.items()}
        assert inside == IMPORTABLE | metadata | {"libxtwrapper.so"}

    def test_holds_what_setup_cfg_requires_and_the_lock_is_made_from_the_same(self, names: list[str]) -> None:
        setup = configparser.ConfigParser()
        setup.read(CHECKOUT / "setup.cfg")
        required = set(setup["options"]["install_requires"].split())
        asked = (CHECKOUT / "requirements/runtime.in").read_text()
        inside = {n.split("/")[1].partition("-")[0] for n in names if n.endswith(".dist-info/METADATA")}
        assert set(re.findall(r"^[a-z].*", asked, re.MULTILINE)) == required
        assert {name.replace("-", "_") for name in required} <= inside

    def test_holds_every_source_file_of_droplan_unaltered(self, pyz: Path, dist: Path) -> None:
        checkout = dist.parent
        sources = {str(p.relative_to(checkout)): p.read_bytes() for p in checkout.glob("droplan_boot/**/*.py")}
        with zipfile.ZipFile(pyz) as archive:
            packed = {
                n[len("site-packages/") :]: archive.read(n)
                for n in archive.namelist()
                if n.startswith("site-packages/droplan_boot/") and n.endswith(".py")
            }
        assert packed == sources
        assert "droplan_boot/cli.py" in packed

    def test_holds_no_compiled_code_no_scripts_and_no_installer_records(self, names: list[str]) -> None:
        unwanted = re.compile(r"\.pyc$|/bin/|/RECORD$|/INSTALLER$|direct_url|\.pth$|/tests?/")
        assert [n for n in names if unwanted.search(n)] == []

    def test_holds_one_native_file_which_every_python_and_old_glibc_can_load(
        self, pyz: Path, names: list[str], tmp_path: Path
    ) -> None:
        assert [n for n in names if re.search(r"\.so\b", n)] == ["site-packages/libxtwrapper.so"]
        library = zipfile.ZipFile(pyz).extract("site-packages/libxtwrapper.so", tmp_path)
        symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
        needed = {tuple(map(int, v.split("."))) for v in re.findall(r"@GLIBC_([\d.]+)", symbols)}
        assert needed
        assert max(needed) <= (2, 17), "CentOS 7 has glibc 2.17"
        assert not re.search(r"\bU _?Py", symbols)

    def test_tells_nothing_of_where_it_was_built(self, pyz: Path, dist: Path) -> None:
        with zipfile.ZipFile(pyz) as archive:
            everything = b"\n".join(archive.read(n) for n in archive.namelist())
        assert str(dist.parent).encode() not in everything
        assert str(CHECKOUT).encode() not in everything

    def test_starts_python_isolated_and_without_the_hosts_packages(self, pyz: Path) -> None:
        assert pyz.read_bytes().split(b"\n")[0] == b"#!/usr/bin/python3 -IS"

    def test_is_small(self, pyz: Path) -> None:
        assert pyz.stat().st_size < 1_000_000

    def test_is_a_shiv_archive_by_its_environment(self, pyz: Path) -> None:
        environment = json.loads(zipfile.ZipFile(pyz).read("environment.json"))
        assert environment["shiv_version"] == "1.0.8"
        assert environment["entry_point"] == "droplan_boot.cli:main"
        assert environment["root"] == "/var/lib/droplan/zipapp"


class TestBesideIt:
    @pytest.mark.parametrize("sums", ["droplan.pyz.sha256", "SHA256SUMS"])
    def test_sums_are_what_sha256sum_checks(self, dist: Path, sums: str) -> None:
        subprocess.run(["sha256sum", "--check", "--strict", sums], cwd=dist, check=True)

    def test_the_sum_does_not_fit_another_file(self, dist: Path, tmp_path: Path) -> None:
        (tmp_path / "droplan.pyz").write_bytes((dist / "droplan.pyz").read_bytes() + b"x")
        sums = dist / "droplan.pyz.sha256"
        checked = subprocess.run(["sha256sum", "--check", sums], cwd=tmp_path, check=False, capture_output=True)
        assert checked.returncode == 1

    def test_the_bill_of_materials_names_each_package_that_is_inside(self, dist: Path) -> None:
        bill = json.loads((dist / "droplan.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        named = {part["name"]: part["version"] for part in bill["components"]}
        assert named == {**locked_versions(), "droplan-boot": __version__}

    def test_the_bill_of_materials_tells_nothing_of_where_it_was_made(self, dist: Path) -> None:
        text = (dist / "droplan.cdx.json").read_text()
        assert "file://" not in text
        assert str(dist.parent) not in text
