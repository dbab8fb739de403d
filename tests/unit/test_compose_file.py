"""compose.yaml: pinned, on the loopback address only, healthy before it is used, its data in a volume."""

from __future__ import annotations

import re

import pytest
import yaml

from elkkit.assets import asset
from elkkit.stack.embedded.files import RELEASES

COMPOSE = yaml.safe_load(asset("compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]


def test_both_are_of_one_pinned_version():
    tags = {s["image"].rpartition(":")[2] for s in SERVICES.values()}
    assert tags == {RELEASES[0].version}
    assert set(SERVICES) == {"elasticsearch", "kibana"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_bound_to_the_loopback_address(name):
    ports = SERVICES[name]["ports"]
    assert ports
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{ELKKIT_[A-Z]+_PORT:-(\d+)\}:\1", port), port
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_each_has_a_healthcheck_and_a_limit(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD-SHELL"
    assert "curl -fsS" in check["test"][1]
    assert SERVICES[name]["mem_limit"]


def test_kibana_waits_and_data_stay():
    assert SERVICES["kibana"]["depends_on"] == {"elasticsearch": {"condition": "service_healthy"}}
    volume = SERVICES["elasticsearch"]["volumes"][0].partition(":")[0]
    assert volume in COMPOSE["volumes"]


def test_security_is_off_and_the_file_says_why_that_is_acceptable():
    assert SERVICES["elasticsearch"]["environment"]["xpack.security.enabled"] == "false"
    assert "loopback" in asset("compose.yaml").read_text("utf-8").partition("services:")[0]


def test_what_is_a_text_for_docker_is_a_text():
    for service in SERVICES.values():
        assert all(isinstance(value, str) for value in service["environment"].values())
