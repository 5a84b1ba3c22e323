"""`python -m deploy`, and what deploy.package.inspect tells without running anything."""

import base64
import os
import pathlib
import pickle
import subprocess
import sys

import manifest_packages
import pytest

import deploy
from deploy.package import inspect, save

torch = pytest.importorskip("torch", reason="torch is not in this environment")

MODEL = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

    def forward(self, x, scale=1.0):
        return {"out": self.layers(x) * scale}


def build():
    torch.manual_seed(0)
    return Net().eval(), (torch.ones(1, 3),), {"scale": 2.0}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "my_net.py").write_text(MODEL)
    (folder / "plain.py").write_text(
        "def build():\n    return Adder(), (1, 2)\n\n\nclass Adder:\n    def __call__(self, a, b=0):\n        return a + b\n"
    )
    return folder


@pytest.fixture(scope="module")
def command(project):
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}

    def run(*arguments, status=0):
        line = [sys.executable, "-m", "deploy", *map(str, arguments)]
        done = subprocess.run(line, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


@pytest.fixture(scope="module")
def packed(project, command):
    told = command("pack", "my_net:build", "-o", "net.pt", "-q")
    assert "net.pt" in told and ", verified" in told and "own code: my_net" in told
    return project / "net.pt"


def test_inspect_shows_the_tree_with_shapes_sizes_and_versions(command, packed):
    told = command("inspect", packed)
    assert "model/model.pkl: my_net.Net(x, scale=...)" in told
    assert f"torch: torch {torch.__version__}" in told
    assert "weight  float32 [2, 3]  24 B" in told
    assert "running_mean  float32 [2]  8 B" in told
    assert "0: torch.nn.modules.linear.Linear" in told
    assert "own code" in told and "my_net  " in told


def test_verify_repeats_the_example_in_as_many_interpreters_as_asked(command, packed):
    assert "1 of 1 examples compared, bit-equal" in command("verify", packed, "--interpreters", "2")


def test_run_calls_with_the_example_or_with_given_arguments(command, packed, project):
    example = command("run", packed)
    assert "out: Tensor torch.float32 [1, 2]" in example
    assert command("run", packed, "tensor:[[1.0, 1.0, 1.0]]", "scale=2.0") == example
    torch.save(torch.ones(1, 3), project / "x.pt")
    assert command("run", packed, "x=x.pt", "scale=2.0") == example
    assert command("run", packed, "x=x.pt") != example


def test_run_without_torch(command, project):
    command("pack", "plain:build", "-o", "plain.pt", "-q")
    assert command("run", "plain.pt") == "3\n"
    assert command("run", "plain.pt", "a=5", "b=[1]", status=1).startswith("deploy: TypeError: ")
    assert command("run", "plain.pt", '"x"', "b=y") == "'xy'\n"


def test_a_signed_package_is_the_same_package_with_a_signer(command, project):
    # As openssl genpkey -algorithm ed25519 writes it: PKCS#8 around 32 bytes.
    private = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32))).decode()
    (project / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n")
    command("pack", "my_net:build", "-o", "signed.pt", "-q", "--no-verify", "--sign", "key.pem")
    signer = deploy.package_signer(project / "signed.pt")
    assert signer is not None
    command("pack", "my_net:build", "-o", "later.pt", "-q", "--no-verify")
    assert deploy.package_signer(project / "later.pt") is None
    assert signer in command("sign", "later.pt", "key.pem")
    assert deploy.package_signer(project / "later.pt") == signer
    assert "bit-equal" in command("verify", "signed.pt")
    assert torch.package.PackageImporter(str(project / "signed.pt")).load_pickle("model", "model.pkl")
    command("pack", "my_net:build", "-o", "unsigned.pt", "-q", "--no-verify", "--sign", "none.pem", status=1)
    assert not (project / "unsigned.pt").exists()


def test_what_is_wrong_is_one_line_and_no_traceback(command, project):
    (project / "bad.pt").write_bytes(b"no zip")
    for arguments in (("inspect", "bad.pt"), ("verify", "bad.pt"), ("run", "none.pt")):
        told = command(*arguments, status=1)
        assert told.startswith("deploy: ") and "Traceback" not in told


class Trap:
    """Does something when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_inspect_runs_no_code_of_a_package(tmp_path):
    trap = tmp_path / "trapped"
    save(tmp_path / "p.pt", [Trap(trap), {"weight": torch.ones(2, 2)}], verify=False)
    contents = inspect(tmp_path / "p.pt")
    assert not trap.exists()
    assert [(name, str(tensor)) for name, tensor in contents.pickles["model/model.pkl"].all_tensors()] == [
        ("1.weight", "float32 [2, 2]")
    ]
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists()


def test_inspect_reads_plain_torch_packages(tmp_path):
    path = tmp_path / "plain.pt"
    with torch.package.PackageExporter(path) as exporter:
        exporter.extern("torch.**")
        exporter.save_pickle("model", "model.pkl", torch.nn.Linear(2, 3))
    contents = inspect(path)
    assert contents.manifest is None
    assert dict(contents.pickles["model/model.pkl"].all_tensors())["weight"].shape == (3, 2)
    assert "plain torch.package" in str(contents)


@pytest.mark.parametrize(
    ("record", "data", "says"),
    [
        ("model/model.pkl", b"\x80\x04\x95garbage", "is damaged: record 'model/model.pkl': no pickle: it ends too early"),
        (".data/deploy/manifest.json", b"{", r"the manifest of package .* is no JSON object"),
        (".data/deploy/manifest.json", b'{"format": 99}', "format 99; this version of deploy reads formats up to 1"),
    ],
)
def test_inspect_says_what_is_damaged(tmp_path, record, data, says):
    with pytest.raises(deploy.Error, match=says) as caught:
        inspect(manifest_packages.write(tmp_path / "bad.pt", {record: data}, manifest=False))
    assert caught.value.code == deploy.ErrorCode.INVALID_PACKAGE
