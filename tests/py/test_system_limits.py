"""Under the system's limits (ulimit) a host gets an error that it can handle; no signal ends it, and it never waits for ever."""

import pathlib
import subprocess

import pytest

import deploy

PROGRAM = pathlib.Path(deploy._deploy.__file__).parents[2] / "bin/limited_host"
MEGABYTE = 1 << 20


def outcome(resource, value, *modules, site_packages=""):
    command = [str(PROGRAM), resource, str(value), site_packages, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout.strip(), done.stderr


# From just too little for the loader's tables to plenty.
@pytest.mark.parametrize("megabytes", [40, 60, 80, 84, 88, 100, 104, 120, 160, 200, 240, 280, 400, 4000])
def test_under_a_limit_of_address_space_an_interpreter_works_or_the_system_is_said_to_have_refused(megabytes):
    status, text, errors = outcome("as", megabytes * MEGABYTE, "json")
    assert status == 0, (status, text, errors)
    assert megabytes < 4000 or text == "success 3"


@pytest.mark.parametrize("descriptors", [3, 4, 5, 6, 8, 64])
def test_with_few_descriptors_an_interpreter_works_or_the_system_is_said_to_have_refused(descriptors):
    status, text, errors = outcome("nofile", descriptors, "json")
    assert status == 0, (status, text, errors)
    assert descriptors < 64 or text == "success 3"


def test_what_the_system_refuses_to_the_loader_has_the_code_for_that():
    outcomes = [outcome("as", megabytes * MEGABYTE)[1] for megabytes in range(72, 92, 4)]
    assert any(text.startswith("system ") for text in outcomes), outcomes
    outcomes = [outcome("nofile", descriptors)[1] for descriptors in (3, 4, 5)]
    assert any(text.startswith("system ") for text in outcomes), outcomes


@pytest.mark.parametrize("megabytes", [200, 280, 320, 500, 6000])
def test_torch_under_a_limit_of_address_space(torch, megabytes):
    site_packages = str(pathlib.Path(torch.__file__).parents[1])
    status, text, errors = outcome("as", megabytes * MEGABYTE, "torch", site_packages=site_packages)
    assert status == 0, (status, text, errors)
    assert megabytes < 6000 or text == "success 3"
