import importlib.resources

import torch_package_importer


class Reader:
    """Reads data of the package that it came in."""

    def by_importer(self):
        return torch_package_importer.load_text("extra", "labels.txt")

    def by_resources(self):
        return importlib.resources.files("resource_model").joinpath("words.txt").read_text()

    def by_old_resources(self):
        return importlib.resources.read_binary(__package__, "words.txt")

    def names(self):
        return sorted(item.name for item in importlib.resources.files(__package__).iterdir())
