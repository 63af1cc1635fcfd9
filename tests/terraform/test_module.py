"""The module, as Terraform sees it. What it renders and refuses is specified in terraform/tests/*.tftest.hcl."""

from __future__ import annotations

import re

import pytest

from droplan_boot import settings
from tests.bed.cache import CHECKOUT
from tests.bed.terraform import tf

# The token has one name here; which backend is the machine's matter; the addresses are for tests.
LEFT_OUT = {
    *("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN", "DROPLAN_BACKEND"),
    *("DIGITALOCEAN_API_URL", "DROPLAN_METADATA_URL"),
}


def test_every_setting_has_its_variable() -> None:
    text = (CHECKOUT / "terraform/main.tf").read_text()

    names = set(re.findall(r"^    ([A-Z_]+) += ", text, re.MULTILINE))

    assert names - set(settings.NAMES) == set()
    assert set(settings.NAMES) - names - LEFT_OUT == set()


def test_every_file_is_formatted() -> None:
    assert tf.Terraform(CHECKOUT / "terraform").run("fmt", "-check", "-recursive") == ""


def test_the_module_is_valid(module: tf.Terraform) -> None:
    assert "Success" in module.run("validate")


def test_the_module_needs_no_provider(module: tf.Terraform) -> None:
    assert "provider[" not in module.run("providers")


def test_the_modules_own_tests_pass(module: tf.Terraform) -> None:
    assert "0 failed" in module.run("test")


@pytest.mark.parametrize("change", ["cut", "padded", "doubled"])
def test_a_refused_token_is_not_shown(module: tf.Terraform, token: str, change: str) -> None:
    refused = {"cut": token[:-1], "padded": f"{token} ", "doubled": token * 2}[change]

    done = module.attempt("plan", do_key=refused)

    assert done.returncode != 0
    assert "do_key is not a DigitalOcean API token" in done.stdout
    assert token[8:40] not in done.stdout


def test_refused_extra_user_data_is_not_shown(module: tf.Terraform) -> None:
    done = module.attempt("plan", extra_user_data="password: swordfish")

    assert done.returncode != 0
    assert "extra_user_data must begin with" in done.stdout
    assert "swordfish" not in done.stdout


def test_a_plan_and_an_apply_do_not_show_the_token(module: tf.Terraform, token: str) -> None:
    shown = module.run("plan") + module.run("apply", "-auto-approve") + module.run("output")

    assert "user_data" in shown
    assert token not in shown
