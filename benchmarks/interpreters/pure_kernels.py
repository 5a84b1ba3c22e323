"""Pure-Python programs of the kinds that pyperformance measures.

Each function does a fixed amount of work and returns what it found. Plain Python and the interpreters import this module alike.
"""

import io
import json
import pickle
import re
import time

# richards: an operating system's scheduler with tasks that pass packets, all virtual calls and attribute access.


class Packet:
    def __init__(self, link, owner, kind):
        self.link, self.owner, self.kind, self.datum, self.data = link, owner, kind, 0, [0] * 4


def appended(packet, queue):
    packet.link = None
    if queue is None:
        return packet
    last = queue
    while last.link is not None:
        last = last.link
    last.link = packet
    return queue


class Task:
    def __init__(self, scheduler, number, priority, queue):
        self.scheduler, self.number, self.priority, self.queue = scheduler, number, priority, queue
        self.held = False
        self.waiting = queue is None
        scheduler.tasks[number] = self

    def receive(self, packet):
        self.queue = appended(packet, self.queue)
        self.waiting = False

    def run(self):
        packet = self.queue
        if packet is not None:
            self.queue = packet.link
        self.waiting = False
        self.step(packet)


class Idle(Task):
    def __init__(self, scheduler, number, count):
        super().__init__(scheduler, number, 0, None)
        self.waiting, self.seed, self.count = False, 1, count

    def step(self, packet):
        self.count -= 1
        if self.count == 0:
            self.held = True
        elif self.seed & 1:
            self.seed = (self.seed >> 1) ^ 0xD008
            self.scheduler.release(5)
        else:
            self.seed >>= 1
            self.scheduler.release(4)


class Worker(Task):
    def __init__(self, scheduler, number, queue):
        super().__init__(scheduler, number, 1000, queue)
        self.target, self.letter = 2, 0

    def step(self, packet):
        if packet is None:
            self.waiting = True
            return
        self.target = 5 - self.target
        packet.owner, packet.datum = self.target, 0
        for i in range(4):
            self.letter = self.letter % 26 + 1
            packet.data[i] = 64 + self.letter
        self.scheduler.send(packet, self)


class Handler(Task):
    def __init__(self, scheduler, number, queue):
        super().__init__(scheduler, number, 2000, queue)
        self.work, self.devices = None, None

    def step(self, packet):
        if packet is not None:
            if packet.kind == "work":
                self.work = appended(packet, self.work)
            else:
                self.devices = appended(packet, self.devices)
        work = self.work
        if work is not None:
            if work.datum >= 4:
                self.work = work.link
                self.scheduler.send(work, self)
                return
            device = self.devices
            if device is not None:
                self.devices = device.link
                device.datum = work.data[work.datum]
                work.datum += 1
                self.scheduler.send(device, self)
                return
        self.waiting = True


class Device(Task):
    def __init__(self, scheduler, number):
        super().__init__(scheduler, number, 3000, None)
        self.pending = None

    def step(self, packet):
        if packet is None:
            if self.pending is None:
                self.waiting = True
            else:
                pending, self.pending = self.pending, None
                self.scheduler.send(pending, self)
        else:
            self.pending = packet
            self.held = True


class Scheduler:
    def __init__(self):
        self.tasks, self.sent, self.releases = {}, 0, 0

    def release(self, number):
        self.releases += 1
        self.tasks[number].held = False

    def send(self, packet, sender):
        self.sent += 1
        target = packet.owner
        packet.owner = sender.number
        self.tasks[target].receive(packet)

    def run(self):
        order = sorted(self.tasks.values(), key=lambda task: -task.priority)
        while True:
            for task in order:
                if not task.held and (task.queue is not None or not task.waiting):
                    task.run()
                    break
            else:
                return self.sent, self.releases


def richards():
    found = []
    for _ in range(3):
        scheduler = Scheduler()
        Idle(scheduler, 0, 4000)
        Worker(scheduler, 1, Packet(Packet(None, 0, "work"), 0, "work"))
        Handler(scheduler, 2, Packet(Packet(Packet(None, 4, "device"), 4, "device"), 4, "device"))
        Handler(scheduler, 3, Packet(Packet(Packet(None, 5, "device"), 5, "device"), 5, "device"))
        Device(scheduler, 4)
        Device(scheduler, 5)
        found.append(scheduler.run())
    return found


# nbody: floating-point arithmetic on lists.


def nbody():
    bodies = [
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 39.47),
        ([4.84, -1.16, -0.10], [0.60, 2.81, -0.02], 0.037),
        ([8.34, 4.12, -0.40], [-1.01, 1.82, 0.008], 0.011),
        ([12.89, -15.11, -0.22], [1.08, 0.86, -0.01], 0.0017),
        ([15.37, -25.91, 0.17], [0.97, 0.59, -0.034], 0.002),
    ]
    pairs = [(bodies[i], bodies[j]) for i in range(5) for j in range(i + 1, 5)]
    for _ in range(8000):
        for ([x1, y1, z1], v1, m1), ([x2, y2, z2], v2, m2) in pairs:
            dx, dy, dz = x1 - x2, y1 - y2, z1 - z2
            magnitude = 0.01 * (dx * dx + dy * dy + dz * dz) ** -1.5
            b1, b2 = m1 * magnitude, m2 * magnitude
            v1[0] -= dx * b2
            v1[1] -= dy * b2
            v1[2] -= dz * b2
            v2[0] += dx * b1
            v2[1] += dy * b1
            v2[2] += dz * b1
        for r, (vx, vy, vz), _ in bodies:
            r[0] += 0.01 * vx
            r[1] += 0.01 * vy
            r[2] += 0.01 * vz
    return [round(part, 9) for place, _, _ in bodies for part in place]


# json and pickle of nested data; the latter in Python too, as pyperformance has it.

_RECORDS = [
    {
        "id": i,
        "name": f"name {i}",
        "tags": [f"t{i % 7}", "ünï", None, True],
        "score": i / 7,
        "inner": {"a": [i] * 5, "b": {"c": "x" * 20}},
    }
    for i in range(400)
]


def json_text():
    size = 0
    for _ in range(40):
        text = json.dumps(_RECORDS)
        size += len(text) + len(json.loads(text))
    return size


def pickle_c():
    size = 0
    for _ in range(120):
        data = pickle.dumps(_RECORDS, protocol=4)
        size += len(data) + len(pickle.loads(data))
    return size


def pickle_python():
    size = 0
    for _ in range(6):
        stream = io.BytesIO()
        pickle._Pickler(stream, protocol=4).dump(_RECORDS)
        stream.seek(0)
        size += stream.getbuffer().nbytes + len(pickle._Unpickler(stream).load())
    return size


# regex: alternatives, classes and back references over a generated text; and compilation, which is Python code.


def regex():
    seed, letters = 42, []
    for _ in range(100_000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        letters.append("acgt \n"[(seed >> 16) % 6])
    text = "".join(letters)
    patterns = [
        r"agg?t|ac+ct",
        r"[cgt]gg?ta+|ta[acg]c",
        r"(\w)(\w)\2\1",
        r"\b[acgt]{3,5}\b",
        r"(?m)^[ac].*[gt]$",
        r"(a|c)(?=g)(?!gt).",
    ]
    counts = [len(re.findall(pattern, text)) for pattern in patterns]
    for i in range(60):
        re.purge()
        counts.append(sum(re.compile(pattern + f"|x{i}").groups for pattern in patterns))
    return counts


KERNELS = {
    "richards": richards,
    "nbody": nbody,
    "json": json_text,
    "pickle": pickle_c,
    "pickle_python": pickle_python,
    "regex": regex,
}


def timed(name):
    """(seconds of this thread, what was found as text)"""
    start = time.thread_time()
    found = KERNELS[name]()
    return time.thread_time() - start, repr(found)
