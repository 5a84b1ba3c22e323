"""Tensors cross with DLPack, both ways, and share their memory."""

import gc
import threading
import weakref

import numpy
import pytest

import deploy

torch = pytest.importorskip("torch", reason="torch is not in this environment")

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_of_every_dtype_comes_back_the_same(probe, dtype):
    x = torch.tensor([0, 1, 1, 0, 1, 1]).reshape(2, 3).to(dtype)
    y = probe("echo", x)
    assert y.dtype == str(dtype).removeprefix("torch.")
    assert y.data_ptr() == x.data_ptr()
    back = torch.from_dlpack(y)
    assert back.dtype == dtype
    assert torch.equal(back.to(torch.complex128), x.to(torch.complex128))


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor(3.5),
        torch.empty(0),
        torch.empty(2, 0, 3),
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(12.0).reshape(3, 4)[1:, ::2],
        torch.arange(3.0).expand(2, 3),
        torch.arange(16.0).reshape(1, 2, 2, 4).to(memory_format=torch.channels_last),
    ],
    ids=["0-d", "zero-size", "zero-size 3-d", "transposed", "sliced", "expanded", "channels last"],
)
def test_a_tensor_of_any_layout_comes_back_the_same(probe, x):
    y = torch.from_dlpack(probe("echo", x))
    assert y.shape == x.shape
    assert torch.equal(y, x)
    if x.numel():
        assert y.data_ptr() == x.data_ptr()
        assert y.stride() == x.stride()


def test_the_interpreter_writes_into_the_hosts_memory(session):
    x = torch.zeros(2, 3)
    session.global_("torch", "Tensor").call_method("add_", session.from_value(x), 7)
    assert torch.equal(x, torch.full((2, 3), 7.0))


def test_the_host_writes_into_the_interpreters_memory(session):
    inside = session.global_("torch", "zeros")(4)
    y = torch.from_dlpack(inside.to_value())
    y[2] = 5
    assert inside.call_method("tolist").to_value() == [0.0, 0.0, 5.0, 0.0]
    assert inside.call_method("data_ptr").to_value() == y.data_ptr()


def test_numpy_arrays_go_in_and_come_out_without_a_copy(probe):
    x = numpy.arange(6, dtype=numpy.int32).reshape(2, 3)
    y = numpy.from_dlpack(probe("echo", x))
    assert y.ctypes.data == x.ctypes.data
    assert (y == x).all()


def test_a_read_only_numpy_array_can_be_read_inside(session):
    x = numpy.arange(3.0)
    x.flags.writeable = False
    assert session.from_value(x).call_method("sum").call_method("item").to_value() == 3.0


def test_a_tensor_arrives_as_the_interpreters_own_torch_tensor(probe):
    assert probe("describe", torch.ones(1)) == "torch.Tensor"
    assert probe("describe", deploy.Tensor(numpy.ones(1), library=None)) == "torch.Tensor"


def test_a_numpy_array_arrives_as_the_interpreters_own_numpy_array(probe):
    x = numpy.arange(3)
    assert probe("describe", x) == "numpy.ndarray"
    assert probe("describe", x[::-1]) == "numpy.ndarray"
    assert probe("describe", deploy.Tensor(x)) == "numpy.ndarray"
    assert probe("describe", deploy.Tensor(torch.ones(1), library="numpy")) == "numpy.ndarray"
    assert probe("describe", deploy.Tensor(x, library="torch")) == "torch.Tensor"
    with pytest.raises(deploy.Error, match="library: found 'jax', expected"):
        deploy.Tensor(x, library="jax")


def test_a_result_comes_as_what_it_is_inside(probe):
    numpys = probe("make", "__import__('numpy').arange(6).reshape(2, 3)[:, ::2]")
    assert type(numpys) is numpy.ndarray
    assert numpys.tolist() == [[0, 2], [3, 5]]
    torchs = probe("make", "__import__('torch').arange(3)")
    assert type(torchs) is deploy.Tensor
    assert torchs.library == "torch"
    assert probe("describe", torchs) == "torch.Tensor"
    assert probe("describe", numpys) == "numpy.ndarray"
    both = probe("echo", {"n": numpy.ones(1), "t": torch.ones(1)})
    assert (type(both["n"]), type(both["t"])) == (numpy.ndarray, deploy.Tensor)


def test_an_interpreter_without_numpy_refuses_a_numpy_array_and_takes_a_tensor(raises):
    with deploy.InterpreterManager(environment=deploy.Environment.bare()) as manager, manager.acquire_session() as session:
        size = session.global_("builtins", "memoryview")
        with raises(deploy.ErrorCode.ENVIRONMENT) as caught:
            size(numpy.ones(2))
        assert "has no numpy" in caught.value.message
        assert "deploy.Tensor(x, library=None)" in caught.value.message
        assert size(deploy.Tensor(numpy.ones(2), library=None)).call_method("tolist").to_value() == [1.0, 1.0]


@pytest.mark.parametrize(
    "array", [numpy.ma.masked_array([1, 2], [0, 1]), numpy.ma.masked_array([1.0])], ids=["masked", "nothing masked"]
)
def test_a_masked_array_does_not_lose_its_mask(session, raises, array):
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        session.global_("probe", "echo")([array])
    assert "argument 0[0]" in caught.value.message
    assert "its mask would be lost; pass array.filled(value)" in caught.value.message
    inside = session.global_("numpy.ma", "masked_array")([1, 2])
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        inside.to_value()
    assert "its mask would be lost" in caught.value.message


def test_a_result_can_be_an_argument_again(session):
    y = session.global_("torch", "arange")(3).to_value()
    assert isinstance(y, deploy.Tensor)
    assert session.global_("torch", "sum")(y).call_method("item").to_value() == 3


def test_tensors_sit_anywhere_in_a_tree_of_values(probe):
    x = torch.arange(3)
    result = probe("echo", {"a": [x, (x,)], "n": 1})
    assert result["n"] == 1
    for y in (result["a"][0], result["a"][1][0]):
        assert torch.from_dlpack(y).data_ptr() == x.data_ptr()


def test_a_tensor_that_requires_grad_crosses_as_if_detached(probe):
    x = torch.nn.Parameter(torch.ones(2))
    y = torch.from_dlpack(probe("echo", x))
    assert not y.requires_grad
    assert y.data_ptr() == x.data_ptr()
    out = probe("make", "__import__('torch').ones(2, requires_grad=True) * 2")
    assert torch.equal(torch.from_dlpack(out), torch.full((2,), 2.0))


def test_lazy_conjugation_and_negation_are_resolved(probe):
    x = torch.tensor([1 + 2j])
    assert torch.equal(torch.from_dlpack(probe("echo", x.conj())), torch.tensor([1 - 2j]))
    assert torch.equal(torch.from_dlpack(probe("echo", x.conj().imag)), torch.tensor([-2.0]))
    assert torch.equal(torch.from_dlpack(probe("make", "__import__('torch').tensor([1 + 2j]).conj()")), torch.tensor([1 - 2j]))


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [(torch.eye(2).to_sparse(), "storage"), (torch.empty(2, device="meta"), "meta")],
    ids=["sparse", "meta"],
)
def test_a_host_tensor_without_strided_memory_is_refused(session, raises, tensor, reason):
    echo = session.global_("probe", "echo")
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        echo([tensor])
    assert "argument 0[0]" in caught.value.message
    assert "torch.Tensor" in caught.value.message
    assert reason in caught.value.message
    assert echo(1).to_value() == 1


@pytest.mark.parametrize("expression", ["torch.eye(2).to_sparse()", "torch.empty(2, device='meta')"])
def test_a_result_tensor_without_strided_memory_is_no_value(session, raises, expression):
    inside = session.global_("probe", "make")(f"[torch := __import__('torch'), {expression}][1]")
    with raises(deploy.ErrorCode.NOT_A_VALUE):
        inside.to_value()


class Released:
    """Says when the array that it holds is freed."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_a_host_tensor_lives_as_long_as_the_interpreter_holds_it(session):
    array = numpy.ones(3)
    freed = weakref.ref(array)
    session.global_("probe", "remember")(Released(array))
    del array
    gc.collect()
    assert freed() is not None
    session.global_("probe", "forget")()
    gc.collect()
    assert freed() is None


def test_a_host_tensor_dropped_on_a_thread_of_the_interpreter_is_freed(session):
    array = numpy.ones(3)
    freed = weakref.ref(array)
    session.global_("probe", "remember")(array)
    del array
    drop = "[threading := __import__('threading'), t := threading.Thread(target=forget), t.start(), t.join()][3]"
    session.global_("probe", "make")(drop)
    session.global_("probe", "echo")(1)
    gc.collect()
    assert freed() is None


def test_a_tensor_outlives_its_session_and_its_manager():
    with deploy.InterpreterManager() as manager, manager.acquire_session() as session:
        y = session.global_("torch", "arange")(1000).to_value()
    assert torch.from_dlpack(y).sum().item() == 499500
    threading.Thread(target=lambda: torch.from_dlpack(y).sum()).start()
    del manager, session
    gc.collect()
    assert numpy.from_dlpack(y)[999] == 999


def test_an_older_producer_without_max_version_is_understood(probe):
    class Old:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, stream=None):
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    x = numpy.arange(3)
    assert numpy.from_dlpack(probe("echo", Old(x))).ctypes.data == x.ctypes.data


def test_a_producer_that_raises_is_no_value(session, raises):
    class Broken:
        def __dlpack__(self, **kwargs):
            raise BufferError("out of order")

        def __dlpack_device__(self):
            return (1, 0)

    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        session.from_value(Broken())
    assert "BufferError: out of order" in caught.value.message


# deploy.Tensor itself.


def test_a_tensor_describes_itself():
    x = deploy.Tensor(torch.arange(6, dtype=torch.int16).reshape(2, 3).T)
    assert (x.shape, x.strides, x.ndim, x.numel(), x.nbytes) == ((3, 2), (1, 3), 2, 6, 12)
    assert (x.dtype, x.device, x.read_only, x.is_contiguous()) == ("int16", "cpu", False, False)
    assert x.__dlpack_device__() == (1, 0)
    assert repr(x) == "deploy.Tensor(shape=(3, 2), dtype=int16)"


def test_a_copy_is_contiguous_and_its_own():
    x = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    copy = torch.from_dlpack(deploy.Tensor(x), copy=True)
    assert torch.equal(copy, x)
    assert copy.is_contiguous()
    assert copy.data_ptr() != x.data_ptr()


def test_the_capsule_is_what_the_consumer_asked_for():
    x = deploy.Tensor(torch.ones(2))
    assert '"dltensor"' in repr(x.__dlpack__())
    assert '"dltensor"' in repr(x.__dlpack__(max_version=(0, 8)))
    assert '"dltensor_versioned"' in repr(x.__dlpack__(max_version=(1, 0), dl_device=(1, 0), stream=None))


def test_another_device_and_a_read_only_tensor_without_flags_are_buffer_errors():
    array = numpy.ones(2)
    array.flags.writeable = False
    read_only = deploy.Tensor(array)
    assert read_only.read_only
    with pytest.raises(BufferError, match="read-only"):
        read_only.__dlpack__()
    with pytest.raises(BufferError, match=r"\(1, 0\).*\(2, 0\)"):
        read_only.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
    assert not numpy.from_dlpack(read_only).flags.writeable


def test_an_unused_capsule_frees_its_tensor():
    array = numpy.ones(3)
    freed = weakref.ref(array)
    tensor = deploy.Tensor(array)
    capsules = [tensor.__dlpack__(), tensor.__dlpack__(max_version=(1, 0))]
    del tensor, array
    assert freed() is not None
    del capsules
    gc.collect()
    assert freed() is None


def test_what_has_no_dlpack_is_no_tensor(raises):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        deploy.Tensor(5)
    assert "int" in caught.value.message
