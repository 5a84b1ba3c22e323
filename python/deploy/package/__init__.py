"""Packages: one file with a model's Python code and its data.

    deploy.package.save("bert.pt", model, example_kwargs={"input_ids": ids}, intern=["transformers"])

`python -m deploy` does the same from the command line. docs/packaging.md has the rules.
"""

from deploy.package.contents import Contents, inspect
from deploy.package.problems import PackagingError, Problem, VerificationError
from deploy.package.running import run
from deploy.package.saving import Summary, save
from deploy.package.verification import Verification, verify

__all__ = [
    "Contents",
    "PackagingError",
    "Problem",
    "Summary",
    "Verification",
    "VerificationError",
    "inspect",
    "run",
    "save",
    "verify",
]
