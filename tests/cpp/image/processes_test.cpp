#include <gtest/gtest.h>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

TEST(Processes, SubprocessWorks) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import asyncio, subprocess
done = subprocess.run(["/bin/sh", "-c", "cat; echo problem >&2; exit 3"], input="given", capture_output=True, text=True)
assert (done.returncode, done.stdout, done.stderr) == (3, "given", "problem\n"), done
try:
    subprocess.run(["/does/not/exist"])
except FileNotFoundError as error:
    assert error.filename == "/does/not/exist"
else:
    assert False
)"),
            "");
}

TEST(Processes, MultiprocessingWithSpawnSaysWhyItCannot) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import concurrent.futures, multiprocessing, os, sys
sys.executable = "/bin/false"  # also where the environment has a Python
def start(method):
    multiprocessing.get_context(method).Process(target=os.getpid).start()
def pool():
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        executor.submit(os.getpid).result()
for attempt in (lambda: start("spawn"), lambda: start("forkserver"), pool):
    try:
        attempt()
    except RuntimeError as error:
        assert "has no executable of its own" in str(error), error
    else:
        assert False
)"),
            "");
}

TEST(Processes, AnExecutableGivenToMultiprocessingIsTaken) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import multiprocessing, multiprocessing.spawn
multiprocessing.set_executable("/opt/python")
assert multiprocessing.spawn.get_executable() in ("/opt/python", b"/opt/python")
)"),
            "");
}

TEST(Processes, SharedMemoryNeedsNoOtherPython) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=64)
try:
    block.buf[:3] = b"abc"
    other = shared_memory.SharedMemory(block.name)
    assert bytes(other.buf[:3]) == b"abc"
    other.close()
finally:
    block.close()
    block.unlink()
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
