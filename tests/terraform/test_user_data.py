"""The user data: what is committed, what the module makes of it, and what the real cloud-init makes of that."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.bed.cache import CHECKOUT
from tests.bed.terraform import real_cloud_init
from tests.terraform.conftest import Render

FOLDER = CHECKOUT / "cloud-init"
EMBEDDED = ("bootstrap.sh", "bootstrap.py", "close.py")
LIMIT = 64 * 1024
SCRIPT = "#!/bin/sh\necho grüezi\n"
CLOUD_CONFIG = """#cloud-config
write_files:
- {path: /etc/motd, content: hello}
runcmd:
- [systemctl, start, nginx]
"""
BOOTSTRAP = "#!/bin/sh\nexec sh /opt/droplan/bootstrap.sh\n"


@pytest.mark.parametrize("name", ["user-data.yaml", "user-data.sh"])
class TestCommitted:
    def test_it_is_rendered_from_the_programs_beside_it(self, name: str, renderer: ModuleType) -> None:
        # zlib implementations compress differently, so the programs are compared after unpacking.
        committed = (FOLDER / name).read_text()
        template = (FOLDER / f"{name}.in").read_text()
        literal = [re.escape(part) for part in re.split(r"[ \t]*@@[\w.]+@@\n", template)]

        match = re.fullmatch(r"((?:[ \t]*[A-Za-z0-9+/=]+\n)+)".join(literal), committed)

        assert match, f"run cloud-init/render.py: {name} is not what its template says"
        assert [renderer.decode(text) for text in match.groups()] == [
            (FOLDER / program).read_bytes() for program in EMBEDDED
        ], f"run cloud-init/render.py: {name} holds older programs"

    def test_rendering_it_gives_as_much(self, name: str, renderer: ModuleType) -> None:
        rendered = renderer.render((FOLDER / f"{name}.in").read_text())

        assert "@@" not in rendered
        assert len(rendered) == pytest.approx(len((FOLDER / name).read_text()), rel=0.05)

    def test_it_stays_under_half_of_what_digitalocean_takes(self, name: str) -> None:
        assert (FOLDER / name).stat().st_size < LIMIT / 2

    def test_it_has_three_values_to_fill_in(self, name: str) -> None:
        lines = [line.strip() for line in (FOLDER / name).read_text().splitlines() if "FILL-IN" in line]

        names = [line.partition("=")[0] for line in lines if not line.startswith("#")]
        assert names == ["DO_KEY", "URL", "SHA256"]


def test_the_pasted_cloud_config_passes_cloud_inits_schema() -> None:
    done = real_cloud_init.schema(FOLDER / "user-data.yaml")

    assert done.returncode == 0, done.stdout
    assert "Valid" in done.stdout


def test_the_schema_check_can_fail(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("#cloud-config\nruncmd: true\n")

    assert real_cloud_init.schema(tmp_path / "bad.yaml").returncode != 0


@pytest.mark.parametrize("name", ["user-data.sh", "bootstrap.sh"])
def test_a_shell_script_passes_shellcheck(name: str) -> None:
    done = subprocess.run(["shellcheck", "-x", str(FOLDER / name)], text=True, stdout=subprocess.PIPE, check=False)

    assert done.stdout == ""


def test_cloud_init_takes_the_pasted_script_as_one(tmp_path: Path) -> None:
    taken = real_cloud_init.consume(tmp_path, (FOLDER / "user-data.sh").read_text())

    assert list(taken["scripts"].values()) == [(FOLDER / "user-data.sh").read_text()]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"tag": "web", "scope": "vpc", "allow": '["tcp/22@10.0.0.0/8", "10.1.0.7"]', "public": "true"},
        {
            "peer_ports": "[]",
            "allow": '["tag:web"]',
            "allow_public": '["tcp/443"]',
            "public": "true",
            "watch": "false",
        },
        {"fail_closed": "false", "lock_metadata": "false", "interval": "60"},
    ],
)
def test_the_modules_cloud_config_passes_cloud_inits_schema(
    render: Render, tmp_path: Path, variables: dict[str, str]
) -> None:
    (tmp_path / "config.yaml").write_text(render(**variables))

    done = real_cloud_init.schema(tmp_path / "config.yaml")

    assert done.returncode == 0, done.stdout


def test_the_module_sends_what_people_paste(render: Render, tmp_path: Path) -> None:
    sent = real_cloud_init.consume(tmp_path / "sent", render())["config"]
    pasted = real_cloud_init.consume(tmp_path / "pasted", (FOLDER / "user-data.yaml").read_text())["config"]

    for document in (sent, pasted):
        for entry in document["write_files"][:2]:
            del entry["content"]  # the values that are filled in
    assert sent == pasted


def files(config: dict[str, Any]) -> dict[str, bytes]:
    """Return the content of each file that a cloud-config writes, by path."""
    return {
        entry["path"]: base64.b64decode(entry["content"]) if "encoding" in entry else entry["content"].encode()
        for entry in config["write_files"]
    }


class TestTogetherWithOnesOwn:
    def test_a_cloud_config_keeps_its_files_and_commands(self, render: Render, tmp_path: Path) -> None:
        taken = real_cloud_init.consume(tmp_path / "cloud", render(extra_user_data=CLOUD_CONFIG))

        assert files(taken["config"])["/etc/motd"] == b"hello"
        assert taken["config"]["runcmd"] == [["systemctl", "start", "nginx"]]

    def test_it_does_not_take_droplans_files_away(self, render: Render, tmp_path: Path) -> None:
        extra = CLOUD_CONFIG + "merge_how: list()+dict(replace)+str()\n"

        taken = real_cloud_init.consume(tmp_path / "cloud", render(extra_user_data=extra))

        alone = files(real_cloud_init.consume(tmp_path / "alone", render())["config"])
        assert {path: data for path, data in files(taken["config"]).items() if path in alone} == alone

    @pytest.mark.parametrize("extra", [CLOUD_CONFIG, SCRIPT])
    def test_the_bootstrap_is_the_first_script_and_has_a_status_of_its_own(
        self, render: Render, tmp_path: Path, extra: str
    ) -> None:
        taken = real_cloud_init.consume(tmp_path / "cloud", render(extra_user_data=extra))

        assert next(iter(taken["scripts"].items())) == ("00-droplan", BOOTSTRAP)
        # cloud-init writes runcmd's commands to a script of this name, and runs scripts in the order of their names.
        assert sorted([*taken["scripts"], "runcmd"])[0] == "00-droplan"

    def test_a_script_arrives_as_it_was(self, render: Render, tmp_path: Path) -> None:
        taken = real_cloud_init.consume(tmp_path / "cloud", render(extra_user_data=SCRIPT))

        assert taken["scripts"]["extra-user-data"] == SCRIPT

    def test_the_droplan_part_passes_cloud_inits_schema(self, render: Render, tmp_path: Path) -> None:
        taken = real_cloud_init.consume(tmp_path / "cloud", render(extra_user_data=SCRIPT))
        config = tmp_path / "config.yaml"
        config.write_text("#cloud-config\n" + json.dumps(taken["config"]))

        assert real_cloud_init.schema(config).returncode == 0
