"""importlib.resources over the image's archive."""

import io
from importlib.resources.abc import Traversable, TraversableResources

import _deploy_image
from _deploy.finder import read


class ImagePath(Traversable):
    """A file or folder of the archive."""

    def __init__(self, path):
        self._path = path

    @property
    def name(self):
        return self._path.rpartition("/")[2]

    def is_file(self):
        return _deploy_image.find(self._path) >= 0

    def is_dir(self):
        return bool(_deploy_image.listing(self._path + "/"))

    def iterdir(self):
        prefix = self._path + "/"
        names = {path[len(prefix) :].partition("/")[0] for path in _deploy_image.listing(prefix)}
        return (ImagePath(prefix + name) for name in sorted(names))

    def joinpath(self, *descendants):
        parts = [part for piece in descendants for part in str(piece).split("/") if part]
        return ImagePath("/".join([self._path, *parts]))

    __truediv__ = joinpath

    def open(self, mode="r", *args, **kwargs):
        stream = io.BytesIO(read(self._path))
        return stream if "b" in mode else io.TextIOWrapper(stream, *args, **kwargs)

    def read_bytes(self):
        return read(self._path)

    def read_text(self, encoding=None):
        return read(self._path).decode(encoding or "utf-8")

    def __repr__(self):
        return f"ImagePath({self._path!r})"


class ImageResources(TraversableResources):
    """The resource reader of one package."""

    def __init__(self, folder):
        self._folder = folder

    def files(self):
        return ImagePath(self._folder)
