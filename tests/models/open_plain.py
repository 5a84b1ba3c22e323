"""Opens a package with plain torch.package, repeats its example there and compares: open_plain.py FILE."""

import sys
import warnings

from torch.package import PackageImporter

from deploy import read_manifest
from deploy.package.guest_check import check

warnings.simplefilter("ignore")

path = sys.argv[1]
manifest = read_manifest(path)
importer = PackageImporter(path)
model = importer.load_pickle("model", "model.pkl")
inputs = importer.load_pickle("deploy_examples", "0.inputs.pkl")
outputs = importer.load_pickle("deploy_examples", "0.outputs.pkl")
found = check(model, inputs, outputs, manifest["callables"][0]["method"], manifest["examples"][0]["seed"], None, True)
if found["differences"]:
    sys.exit("\n".join(found["differences"]))
