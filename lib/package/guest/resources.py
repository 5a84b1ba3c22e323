"""importlib.resources for packages: the records below a package's folder as a tree of files."""

import io
from importlib.resources.abc import Traversable, TraversableResources


class Reader(TraversableResources):
    def __init__(self, archive, folder):
        self._archive = archive
        self._folder = folder

    def files(self):
        return Node(self._archive, self._folder)


class Node(Traversable):
    def __init__(self, archive, path):
        self._archive = archive
        self._path = path

    @property
    def name(self):
        return self._path.rpartition("/")[2]

    def __str__(self):
        return f"{self._archive.path}/{self._path}"

    def is_file(self):
        return self._path in self._archive

    def is_dir(self):
        return any(name.startswith(self._path + "/") for name in self._archive.names())

    def iterdir(self):
        start = len(self._path) + 1
        below = (name[start:] for name in self._archive.names() if name.startswith(self._path + "/"))
        for child in dict.fromkeys(name.partition("/")[0] for name in below):
            yield self / child

    def joinpath(self, *descendants):
        parts = [part for item in descendants for part in str(item).split("/") if part not in ("", ".")]
        return Node(self._archive, "/".join([self._path, *parts]))

    def __truediv__(self, child):
        return self.joinpath(child)

    def open(self, mode="r", *args, **kwargs):
        if mode not in ("r", "rb"):
            raise ValueError(f"mode must be 'r' or 'rb', not {mode!r}")
        stream = io.BytesIO(self.read_bytes())
        return stream if mode == "rb" else io.TextIOWrapper(stream, *args, **kwargs)

    def read_bytes(self):
        return self._archive.read(self._path)

    def read_text(self, encoding=None):
        return self.read_bytes().decode(encoding or "utf-8")
