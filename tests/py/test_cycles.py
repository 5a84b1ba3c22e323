"""Interpreters come and go, one after another and many at once: threads, mappings and memory of the process stay as they are."""

import json
import subprocess
import sys
import textwrap
import threading

import deploy

# Runs in processes of their own, where nothing else starts threads or maps files.
COMMON = """
import json, os, sys, threading
import deploy

MODEL = '''
import torch
torch.set_num_threads(3)  # a pool of two, on one core as well
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 62 * 62, 10))
def train():
    output = model(torch.ones(4, 3, 64, 64))
    output.sum().backward()
    return torch.get_num_threads()
'''

environment = deploy.Environment.from_running_python()
environment.deferred_imports = True  # it is faster

def make():
    interpreter = deploy.Interpreter(environment)
    interpreter.register_module("subject", MODEL)
    return interpreter

def train(interpreter):
    with interpreter.acquire_session() as session:
        return session.global_("subject", "train")().to_value()

def threads():
    return len(os.listdir("/proc/self/task"))

def private_kb():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

def look():
    with open("/proc/self/maps") as lines:
        return {"threads": threads(), "mappings": sum(1 for _ in lines), "private_kb": private_kb(),
                "kept": deploy.kept_libraries(), "stranded": deploy.stranded_interpreters()}
"""


def run(source):
    command = [sys.executable, "-c", COMMON + textwrap.dedent(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cycles_with_a_training_step_leave_nothing(torch):
    [*_, early, _, _, _, _, late] = run("""
        looks = []
        for _ in range(8):
            assert train(make()) == 3
            looks.append(look())
        print(json.dumps(looks))
    """)
    assert early["threads"] == late["threads"] == 1
    assert late["mappings"] <= early["mappings"] + 2, "two a cycle would be ten"
    assert late["private_kb"] <= early["private_kb"] + 1000, "a copy of libgomp's data and a stack a cycle are more"
    assert late["kept"] == late["stranded"] == []


def test_a_pool_whose_thread_goes_on_keeps_its_library_until_that_thread_comes_by(torch):
    looks = run("""
        import queue
        work, done = queue.Queue(), queue.Queue()
        def serve():
            while job := work.get():
                done.put(job())
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        def there(job):
            work.put(job)
            return done.get()
        looks = []
        for _ in range(3):
            interpreter = make()
            assert there(lambda: train(interpreter)) == 3
            del interpreter
            looks.append(look())
        bare = deploy.Interpreter(deploy.Environment.bare())
        there(lambda: bare.acquire_session().close())
        looks.append(look())
        work.put(None)
        print(json.dumps(looks))
    """)
    *staying, gone = looks
    for each in staying:
        [[path, threads]] = each["kept"]
        assert "libgomp" in path
        assert threads == 2
        assert each["threads"] == 4, "main, the one that calls, and its pool: one pool for all interpreters"
    assert gone["kept"] == []
    assert gone["threads"] == 3, "main, the one that calls, and the home thread of the bare interpreter"


def test_a_pool_ends_with_its_thread(torch):
    late = run("""
        import time
        for _ in range(2):
            interpreter = make()
            threads_ = [threading.Thread(target=train, args=(interpreter,)) for _ in range(3)]
            for thread in threads_:
                thread.start()
            for thread in threads_:
                thread.join()
            del interpreter
        for _ in range(2000):
            if threads() == 1:
                break
            time.sleep(0.001)
        deploy.Interpreter(deploy.Environment.bare()).acquire_session().close()
        print(json.dumps(look()))
    """)
    assert late["threads"] == 1
    assert late["kept"] == late["stranded"] == []


def on_threads(count, work):
    results = [None] * count

    def body(i):
        results[i] = work(i)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


MANY = """
numbers = []
def answer(number):
    numbers.append(number)
    return [sum(i * i for i in range(20_000)), numbers]
"""


def test_sixty_four_bare_interpreters_each_on_a_thread_of_its_own():
    everybody_is_there = threading.Barrier(64)

    def work(i):
        interpreter = deploy.Interpreter(deploy.Environment.bare())
        interpreter.register_module("many", MANY)
        everybody_is_there.wait(60)
        with interpreter.acquire_session() as session:
            return session.global_("many", "answer")(i).to_value()

    before = deploy.stranded_interpreters()
    expected = sum(i * i for i in range(20_000))
    assert on_threads(64, work) == [[expected, [i]] for i in range(64)]
    assert deploy.stranded_interpreters() == before


MODEL = """
import torch
torch.manual_seed(7)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 30 * 30, 10)).eval()
x = torch.randn(4, 3, 32, 32)
def answer():
    with torch.inference_mode():
        return model(x)
"""


def test_six_interpreters_with_torch_each_on_a_thread_of_its_own_agree(torch):
    environment = deploy.Environment.from_running_python()
    environment.deferred_imports = True
    everybody_is_there = threading.Barrier(6)

    def work(_i):
        interpreter = deploy.Interpreter(environment)
        interpreter.register_module("many", MODEL)
        with interpreter.acquire_session() as session:
            answer = session.global_("many", "answer")
            everybody_is_there.wait(120)
            return [torch.from_dlpack(answer().to_value()).clone() for _ in range(5)]

    outputs = on_threads(6, work)
    assert outputs[0][0].shape == (4, 10)
    for output in outputs:
        for each in output:
            assert torch.equal(each, outputs[0][0])
