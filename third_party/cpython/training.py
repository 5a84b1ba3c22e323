"""Programs that the CPython of the image is profiled with, beside CPython's own tests: what Python does around and inside models.

The tests touch everything and stay nowhere; without loops like these the compiler takes the specialised instructions of
arithmetic, attributes and subscripts for rare ones, and spills registers in them. None of them is a program of the benchmarks;
what json and pickle write and read here is of other kinds than there.
"""

import collections
import functools
import heapq
import json
import math
import pickle
import random
import sys


def matrix_product(n=40):
    a = [[float(i + j) for j in range(n)] for i in range(n)]
    b = [[1.0 / (1 + i + j) for j in range(n)] for i in range(n)]
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in a]


def spectral_norm(n=60):
    def entry(i, j):
        return 1.0 / ((i + j) * (i + j + 1) // 2 + i + 1)

    u = [1.0] * n
    for _ in range(3):
        v = [sum(entry(i, j) * u[j] for j in range(n)) for i in range(n)]
        u = [sum(entry(j, i) * v[j] for j in range(n)) for i in range(n)]
    return math.sqrt(sum(x * x for x in u))


def mandelbrot(n=48):
    inside = 0
    for i in range(n):
        for j in range(n):
            x0, y0 = 3.0 * i / n - 2.0, 2.0 * j / n - 1.0
            x, y, steps = 0.0, 0.0, 0
            while x * x + y * y <= 4.0 and steps < 60:
                x, y, steps = x * x - y * y + x0, 2.0 * x * y + y0, steps + 1
            inside += steps == 60
    return inside


class Layer:
    """A layer as a model's Python sees it: attributes, a chain of calls, keyword arguments, a property."""

    def __init__(self, weights, bias, *, scale=1.0):
        self.weights, self.bias, self._scale, self.hooks = weights, bias, scale, {}

    @property
    def scale(self):
        return self._scale

    def __call__(self, x, *, training=False):
        for hook in self.hooks.values():
            x = hook(x)
        return self.forward(x, training=training)

    def forward(self, x, training=False):
        out = []
        for row, bias in zip(self.weights, self.bias, strict=True):
            total = bias
            for k in range(len(row)):
                total += row[k] * x[k]
            out.append(total * self.scale if total > 0.0 else 0.0)
        return out


def layers(n=24, depth=4, rounds=8):
    source = random.Random(3)
    net = [Layer([[source.gauss(0, 0.3) for _ in range(n)] for _ in range(n)], [0.1] * n) for _ in range(depth)]
    net[1].hooks["clip"] = lambda x: [min(v, 4.0) for v in x]
    x = [source.random() for _ in range(n)]
    for _ in range(rounds):
        y = functools.reduce(lambda value, layer: layer(value, training=False), net, x)
        peak = max(y)
        weights = [math.exp(v - peak) for v in y]
        x = [w / sum(weights) for w in weights]
    return x


def tokenizer(text, merges=40):
    """Byte-pair encoding: dictionaries of tuples, slices of lists, joins of strings."""
    words = collections.Counter(text.lower().split())
    pieces = {word: list(word) for word in words}
    for _ in range(merges):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        for word, parts in pieces.items():
            i, merged = 0, []
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            pieces[word] = merged
    return pieces


def shortest_paths(n=400):
    """A heap, integers, sets, and generators."""

    def neighbours(node):
        for step in (1, 7, 31):
            yield (node + step) % n, 1 + (node * step) % 5

    distance, queue, done = {0: 0}, [(0, 0)], set()
    while queue:
        far, node = heapq.heappop(queue)
        if node in done:
            continue
        done.add(node)
        for other, length in neighbours(node):
            if far + length < distance.get(other, sys.maxsize):
                distance[other] = far + length
                heapq.heappush(queue, (far + length, other))
    return distance


def caught(n=3000):
    total = 0
    table = {"a": 1, "b": "two"}
    for i in range(n):
        try:
            total += table["ab c"[i % 4]]
        except (KeyError, TypeError) as error:
            total += len(error.args)
    return total


def configuration(layers=12):
    """What is kept beside a model's weights: names, shapes, dtypes, strides, a vocabulary."""

    def tensor(i):
        return {"shape": [64, 16 + i], "stride": (16 + i, 1), "dtype": "float32", "offset": i << 20, "grad": None}

    names = [f"encoder.layer.{i}.{part}.weight" for i in range(layers) for part in ("attention", "intermediate", "output")]
    return {
        "model": "encoder",
        "tied": True,
        "scales": [i / 7 for i in range(60)],
        "tensors": {name: tensor(i) for i, name in enumerate(names)},
        "words": {f"token{i:03}": i for i in range(150)},
    }


def saved_and_loaded(rounds=4):
    value = configuration()
    for _ in range(rounds):
        text = json.dumps(value)
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            data = pickle.dumps(value, protocol)
            if len(json.loads(text)) != len(pickle.loads(data)):
                raise RuntimeError("a configuration was not loaded as it was saved")


def main(rounds):
    text = __doc__ * 4
    programs = [
        matrix_product, spectral_norm, mandelbrot, layers, lambda: tokenizer(text), shortest_paths, caught,
        saved_and_loaded,
    ]  # fmt: skip
    for _ in range(rounds):
        for program in programs:
            program()


if __name__ == "__main__":
    main(int(sys.argv[1]))
