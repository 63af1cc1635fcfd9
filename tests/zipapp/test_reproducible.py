"""The same sources give the same bytes, wherever and by whomever they are built."""

from __future__ import annotations

from pathlib import Path

from tests.zipapp.conftest import build, copy_sources

PRODUCTS = ("droplan.pyz", "droplan.pyz.sha256", "droplan.cdx.json", "SHA256SUMS")


def test_another_directory_umask_locale_time_zone_home_and_an_empty_cache_change_nothing(
    dist: Path, tmp_path: Path
) -> None:
    checkout = copy_sources(tmp_path / "elsewhere" / "a longer name")
    for source in checkout.rglob("*"):
        source.chmod(0o700)
    other = build(
        checkout,
        cache=tmp_path / "cache",
        umask=0o077,
        TZ="Pacific/Auckland",
        LC_ALL="C",
        HOME=str(tmp_path),
        PYTHONHASHSEED="7",
        SHIV_ROOT="/nowhere",
    )
    assert {n: (other / n).read_bytes() for n in PRODUCTS} == {n: (dist / n).read_bytes() for n in PRODUCTS}


def test_another_source_changes_the_archive_and_the_name_of_its_unpacked_tree(dist: Path, tmp_path: Path) -> None:
    checkout = copy_sources(tmp_path / "changed")
    with (checkout / "droplan_boot/errors.py").open("a") as file:
        file.write("# changed\n")
    other = build(checkout)
    assert (other / "droplan.pyz").read_bytes() != (dist / "droplan.pyz").read_bytes()
