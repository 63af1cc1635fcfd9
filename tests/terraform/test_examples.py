"""The examples, applied with the real terraform through a stub of the provider to a fake API."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.bed.cache import CHECKOUT
from tests.bed.shared.fleet import Keys
from tests.bed.terraform import tf
from tests.terraform.conftest import FakeApi

EXAMPLES = ["minimal", "fleet", "shared", "three_tier", "balanced"]
PYZ = b"not quite a zipapp"
PUBLISHED = f"droplan/{hashlib.sha256(PYZ).hexdigest()}/droplan.pyz"
URL = f"https://my-bucket.nyc3.digitaloceanspaces.com/{PUBLISHED}"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return tf.copy_sources(tmp_path / "checkout")


@pytest.fixture
def environment(reattach: str, tmp_path: Path) -> dict[str, str]:
    """Keep terraform's log of errors, for the test that looks for the token in everything written."""
    return {"TF_REATTACH_PROVIDERS": reattach, "TF_LOG": "ERROR", "TF_LOG_PATH": str(tmp_path / "terraform.log")}


@pytest.fixture
def minimal(sources: Path, environment: dict[str, str], inputs: dict[str, str]) -> tf.Terraform:
    example = tf.Terraform(sources / "examples" / "minimal", inputs, environment)
    example.run("init")
    return example


@pytest.fixture
def three_tier(sources: Path, environment: dict[str, str], inputs: dict[str, str]) -> tf.Terraform:
    example = tf.Terraform(sources / "examples" / "three-tier", inputs, environment)
    example.run("init")
    return example


@pytest.fixture
def fleet(sources: Path, environment: dict[str, str], token: str, tmp_path: Path) -> tf.Terraform:
    pyz = tmp_path / "droplan.pyz"
    pyz.write_bytes(PYZ)
    variables = {"do_key": token, "bucket": "my-bucket", "droplan_pyz": str(pyz)}
    example = tf.Terraform(sources / "examples" / "fleet", variables, environment)
    example.run("init")
    return example


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.made(tmp_path_factory.mktemp("keys") / "fleet.key")


@pytest.fixture
def shared(sources: Path, environment: dict[str, str], inputs: dict[str, str], keys: Keys) -> tf.Terraform:
    """Return the example of publishers and members, with ``keys`` and an API token for its publishers."""
    signing = {"signing_key": keys.private.read_text(), "trust": json.dumps([keys.public])}
    example = tf.Terraform(sources / "examples" / "shared", {**inputs, "bucket": "my-bucket", **signing}, environment)
    example.run("init")
    return example


@pytest.fixture
def balanced(sources: Path, environment: dict[str, str], inputs: dict[str, str]) -> tf.Terraform:
    variables = {**inputs, "admins": '["203.0.113.0/24"]'}
    example = tf.Terraform(sources / "examples" / "load-balancer", variables, environment)
    example.run("init")
    return example


def user_data(module: Path, **variables: str) -> str:
    """Render user data with the module alone."""
    alone = tf.Terraform(module, variables)
    alone.run("init")
    alone.run("apply", "-auto-approve")
    return alone.run("output", "-raw", "user_data")


def apply(example: tf.Terraform, **variables: str) -> str:
    return example.run("apply", "-auto-approve", **variables)


def nothing_to_do(example: tf.Terraform, **variables: str) -> bool:
    """Plan, and say whether terraform would leave everything as it is."""
    done = example.attempt("plan", "-detailed-exitcode", **variables)
    print(done.stdout)
    assert done.returncode in (0, 2)
    return done.returncode == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_valid(name: str, request: pytest.FixtureRequest) -> None:
    example: tf.Terraform = request.getfixturevalue(name)

    assert "Success" in example.run("validate")


def test_minimal_creates_one_droplet_with_the_modules_user_data(
    minimal: tf.Terraform, sources: Path, api: FakeApi, inputs: dict[str, str]
) -> None:
    apply(minimal)

    (created,) = api.created
    assert created["name"] == "droplan-minimal"
    assert created["user_data"] == user_data(sources, **inputs)


def test_fleet_creates_droplets_with_the_modules_user_data(
    fleet: tf.Terraform, sources: Path, api: FakeApi, token: str
) -> None:
    apply(fleet)

    expected = user_data(
        sources,
        do_key=token,
        droplan_url=URL,
        droplan_sha256=hashlib.sha256(PYZ).hexdigest(),
        scope="vpc",
        tag="fleet",
    )
    assert [droplet["user_data"] for droplet in api.created] == [expected, expected]
    assert api.names() == ["fleet-1", "fleet-2"]


def test_fleet_puts_its_droplets_into_one_vpc_with_one_tag(fleet: tf.Terraform, api: FakeApi) -> None:
    apply(fleet)

    assert len({droplet["vpc_uuid"] for droplet in api.created}) == 1
    assert [droplet["tags"] for droplet in api.created] == [["fleet"], ["fleet"]]


def test_three_tier_opens_by_tag_what_each_droplet_is_for(
    three_tier: tf.Terraform, sources: Path, api: FakeApi, inputs: dict[str, str]
) -> None:
    apply(three_tier)

    opened = {
        "bastion": "[]",
        "db": '["tcp/5432@tag:web", "tcp/22@tag:bastion"]',
        "web": '["tcp/22@tag:bastion"]',
    }
    created = {droplet["name"]: droplet for droplet in api.created}
    assert created.keys() == {f"shop-{tag}" for tag in opened}
    for tag, allow in opened.items():
        assert created[f"shop-{tag}"]["tags"] == [tag]
        assert created[f"shop-{tag}"]["user_data"] == user_data(
            sources, **inputs, scope="vpc", tags='["bastion", "db", "web"]', peer_ports="[]", allow=allow
        )
    assert len({droplet["vpc_uuid"] for droplet in api.created}) == 1


def test_another_entry_replaces_no_droplet(three_tier: tf.Terraform, api: FakeApi) -> None:
    apply(three_tier)
    before = dict(api.droplets)
    main = three_tier.directory / "main.tf"
    main.write_text(main.read_text().replace('"tcp/5432@tag:web"', '"tcp/5432@tag:web", "tcp/9100@tag:bastion"'))

    apply(three_tier)

    assert api.droplets == before


def test_an_entry_that_the_module_refuses_creates_nothing(three_tier: tf.Terraform, api: FakeApi, token: str) -> None:
    main = three_tier.directory / "main.tf"
    main.write_text(main.read_text().replace('"tcp/5432@tag:web"', '"tcp/5432@web"'))

    done = three_tier.attempt("apply", "-auto-approve")

    assert done.returncode != 0
    assert "allow and allow_public take entries such as" in done.stdout
    assert token not in done.stdout
    assert api.created == []


def test_fleet_publishes_the_zipapp_where_its_droplets_look(fleet: tf.Terraform, spaces: Path) -> None:
    shown = apply(fleet)

    assert (spaces / "my-bucket" / PUBLISHED).read_bytes() == PYZ
    assert URL in shown


def test_balanced_creates_droplets_with_the_modules_user_data(
    balanced: tf.Terraform, sources: Path, api: FakeApi, inputs: dict[str, str]
) -> None:
    apply(balanced)

    expected = user_data(
        sources,
        **inputs,
        scope="vpc",
        tag="shop-web",
        peer_ports="[]",
        allow='["tcp/8080@10.120.0.0/20"]',
        public="true",
        allow_public='["tcp/22@203.0.113.0/24"]',
    )
    assert [droplet["user_data"] for droplet in api.created] == [expected, expected]
    assert [droplet["tags"] for droplet in api.created] == [["shop-web"], ["shop-web"]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_examples_own_tests_pass(name: str, request: pytest.FixtureRequest) -> None:
    example: tf.Terraform = request.getfixturevalue(name)
    written = [file.read_text() for file in example.directory.glob("tests/*.tftest.hcl")]
    runs = sum(text.count('\nrun "') for text in written)
    assert runs

    assert f"{runs} passed, 0 failed" in example.run("test")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_second_plan_is_empty(name: str, request: pytest.FixtureRequest) -> None:
    example: tf.Terraform = request.getfixturevalue(name)
    apply(example)

    assert nothing_to_do(example)


@pytest.mark.parametrize("name", EXAMPLES)
def test_destroy_leaves_nothing(name: str, request: pytest.FixtureRequest, api: FakeApi, spaces: Path) -> None:
    example: tf.Terraform = request.getfixturevalue(name)
    apply(example)

    example.run("destroy", "-auto-approve")

    assert api.droplets == {}
    assert list(spaces.iterdir()) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_token_is_in_no_state_log_or_output(
    name: str, request: pytest.FixtureRequest, token: str, api: FakeApi, tmp_path: Path
) -> None:
    example: tf.Terraform = request.getfixturevalue(name)

    shown = example.run("plan") + apply(example) + example.run("show") + example.run("output", "-json")
    shown += example.run("plan") + example.run("destroy", "-auto-approve")

    assert token in api.created[0]["user_data"], "the test must know what to look for"
    assert token not in shown
    written = [path for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert written == []


def test_verbose_logs_hold_the_token_as_the_readme_warns(minimal: tf.Terraform, token: str, tmp_path: Path) -> None:
    # Not ours to mend: Terraform warns in its log, values included, that the provider plans a hash for user_data.
    log = tmp_path / "terraform.log"
    verbose = tf.Terraform(minimal.directory, minimal.variables, {**minimal.environment, "TF_LOG": "WARN"})

    apply(verbose)

    assert token in log.read_text()
    readme = (CHECKOUT / "terraform" / "examples" / "fleet" / "README.md").read_text()
    assert "TF_LOG" in readme


def test_the_state_holds_the_sha1_of_the_user_data(fleet: tf.Terraform, api: FakeApi) -> None:
    apply(fleet)

    state = json.loads((fleet.directory / "terraform.tfstate").read_text())
    droplets = next(entry for entry in state["resources"] if entry["type"] == "digitalocean_droplet")["instances"]
    sha1 = hashlib.sha1(api.created[0]["user_data"].encode()).hexdigest()
    assert [droplet["attributes"]["user_data"] for droplet in droplets] == [sha1, sha1]
    assert state["outputs"]["user_data_sha1"]["value"] == sha1


def test_a_fleet_grows_and_shrinks_by_exactly_one(fleet: tf.Terraform, api: FakeApi) -> None:
    apply(fleet)
    before = dict(api.droplets)

    apply(fleet, droplet_count="3")

    assert {number: api.droplets[number] for number in before} == before
    assert api.names() == ["fleet-1", "fleet-2", "fleet-3"]

    apply(fleet, droplet_count="2")

    assert api.droplets == before


def test_a_new_token_or_zipapp_does_not_replace_droplets(
    fleet: tf.Terraform, api: FakeApi, token: str, tmp_path: Path
) -> None:
    apply(fleet)
    before = dict(api.droplets)
    newer = tmp_path / "newer.pyz"
    newer.write_bytes(PYZ + b", but newer")
    changed = {"do_key": token[:-1] + ("0" if token[-1] != "0" else "1"), "droplan_pyz": str(newer)}

    apply(fleet, **changed)

    assert api.droplets == before
    assert nothing_to_do(fleet, **changed)


def test_a_droplet_that_vanished_is_made_again(minimal: tf.Terraform, api: FakeApi) -> None:
    apply(minimal)
    api.droplets.clear()

    apply(minimal)

    assert api.names() == ["droplan-minimal"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_refusal_of_the_api_is_shown(name: str, request: pytest.FixtureRequest, api: FakeApi, token: str) -> None:
    example: tf.Terraform = request.getfixturevalue(name)
    api.refusal = "Size is not available in this region."

    done = example.attempt("apply", "-auto-approve")

    assert done.returncode != 0
    assert "Size is not available in this region." in done.stdout
    assert token not in done.stdout


def test_the_token_and_what_signs_and_writes_are_on_publishers_only(
    shared: tf.Terraform, api: FakeApi, token: str, keys: Keys
) -> None:
    apply(shared)

    state = json.loads((shared.directory / "terraform.tfstate").read_text())
    spaces_keys = {
        entry["name"]: entry["instances"][0]["attributes"]["secret_key"]
        for entry in state["resources"]
        if entry["type"] == "digitalocean_spaces_key"
    }
    private = keys.private.read_text().splitlines()[1]
    secrets = {"token": token, "signs": private, "writes": spaces_keys["publishers"], "reads": spaces_keys["members"]}
    held = {
        droplet["name"]: {name for name, secret in secrets.items() if secret in droplet["user_data"]}
        for droplet in api.created
    }
    assert held == {
        "fleet-publisher-1": set(secrets),
        "fleet-publisher-2": set(secrets),
        "fleet-1": {"reads"},
        "fleet-2": {"reads"},
    }


def test_the_key_that_signs_is_in_no_state_log_or_output(shared: tf.Terraform, keys: Keys, tmp_path: Path) -> None:
    shown = shared.run("plan") + apply(shared) + shared.run("show") + shared.run("output", "-json")

    private = keys.private.read_text().splitlines()[1]
    assert private not in shown
    written = [path for path in tmp_path.rglob("*") if path.is_file() and private.encode() in path.read_bytes()]
    assert written == []


def test_keys_of_spaces_are_for_one_bucket_and_members_read_it_only(shared: tf.Terraform) -> None:
    apply(shared)

    state = json.loads((shared.directory / "terraform.tfstate").read_text())
    entries = [entry for entry in state["resources"] if entry["type"] == "digitalocean_spaces_key"]
    assert {entry["name"]: entry["instances"][0]["attributes"]["grant"] for entry in entries} == {
        "members": [{"bucket": "my-bucket", "permission": "read"}],
        "publishers": [{"bucket": "my-bucket", "permission": "readwrite"}],
    }


def test_a_member_more_touches_nobody_else(shared: tf.Terraform, api: FakeApi) -> None:
    apply(shared)
    before = dict(api.droplets)

    apply(shared, member_count="3")

    assert {number: api.droplets[number] for number in before} == before
    assert api.names() == ["fleet-1", "fleet-2", "fleet-3", "fleet-publisher-1", "fleet-publisher-2"]
