"""deploy.Tensor for code that has no library at hand: numbers, lists, views and buffers; the rest says what to use."""

import asyncio
import hashlib

import numpy
import pytest

import deploy


def tensor(array, library=None):
    return deploy.Tensor(numpy.asarray(array), library=library)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ],
)
def test_every_element_type_of_numpy_has_numbers_and_a_buffer(dtype):
    array = numpy.array([[0, 1, 2], [3, 100, 1]]).astype(dtype)
    x = tensor(array)
    assert x.tolist() == array.tolist()
    assert [[type(item) for item in row] for row in x.tolist()] == [[type(item) for item in row] for row in array.tolist()]
    again = numpy.asarray(x)
    assert again.dtype == array.dtype
    assert again.ctypes.data == array.ctypes.data
    assert (again == array).all()


def test_the_ends_of_the_element_types_are_exact():
    assert tensor(numpy.array([-(2**63), 2**63 - 1])).tolist() == [-(2**63), 2**63 - 1]
    assert tensor(numpy.array([2**64 - 1], dtype="uint64")).tolist() == [2**64 - 1]
    halves = numpy.array([1.5, -0.25, 65504, 6e-8, 0, -0.0, numpy.inf, -numpy.inf], dtype="float16")
    assert tensor(halves).tolist() == halves.tolist()
    assert numpy.isnan(tensor(numpy.array([numpy.nan], dtype="float16")).item())


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        slice(1, None),
        slice(None, None, -1),
        (0, 1),
        (slice(None), 2),
        (..., 0),
        None,
        (None, 1),
        (),
        (slice(5, 9),),
        numpy.int64(1),
    ],
    ids=repr,
)
def test_basic_indexing_gives_views_as_numpys(index):
    array = numpy.arange(12).reshape(3, 4)
    found = tensor(array)[index]
    assert isinstance(found, deploy.Tensor)
    assert found.tolist() == array[index].tolist()
    assert numpy.asarray(found).shape == array[index].shape


def test_a_view_keeps_the_memory_and_what_it_is():
    array = numpy.arange(3.0)
    array.flags.writeable = False
    view = deploy.Tensor(array)[1:]
    del array
    assert view.read_only
    assert view.library == "numpy"
    assert view.tolist() == [1.0, 2.0]


def test_it_is_a_sequence_of_its_rows():
    x = tensor(numpy.arange(6).reshape(3, 2))
    assert len(x) == 3
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    assert [item.item() for item in x[0]] == [0, 1]


def test_one_element_is_a_number():
    x = tensor(numpy.float32(2.5).reshape(1, 1))
    assert (x.item(), float(x), int(x), complex(x), bool(x)) == (2.5, 2.5, 2, 2.5 + 0j, True)
    assert not tensor(numpy.zeros(1))


def test_the_buffer_is_what_was_asked_for():
    x = tensor(numpy.arange(6, dtype="int32").reshape(2, 3))
    view = memoryview(x)
    assert (view.format, view.shape, view.strides, view.readonly) == ("i", (2, 3), (12, 4), False)
    assert bytes(x) == numpy.arange(6, dtype="int32").tobytes()
    view[0, 0] = 7
    assert x[0, 0].item() == 7
    transposed = tensor(numpy.arange(6).reshape(2, 3).T)
    assert memoryview(transposed).tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(BufferError, match="not contiguous"):
        hashlib.sha256(transposed)


def test_numpys_functions_take_it():
    x = tensor(numpy.arange(3.0))
    assert numpy.asarray(x).sum() == 3
    assert numpy.array(x, dtype="float32").dtype == numpy.float32
    assert numpy.stack([x, x]).shape == (2, 3)
    assert (numpy.arange(3.0) == x).all()
    assert x.numpy().ctypes.data == x.data_ptr()


@pytest.mark.parametrize(
    ("use", "error", "said"),
    [
        (lambda x: x.argmax(), AttributeError, "numpy.asarray(tensor).argmax or torch.from_dlpack(tensor).argmax"),
        (lambda x: x == x[:], TypeError, "numpy.asarray(tensor) == other"),
        (lambda x: x != 3, TypeError, "numpy.asarray(tensor) == other"),
        (lambda x: bool(x), ValueError, "this one has 3: use tolist()"),
        (lambda x: float(x), ValueError, "numpy.asarray(tensor)"),
        (lambda x: x["logits"], TypeError, "indexed by int, slice, ... and None, not by str"),
        (lambda x: x[[0, 1]], TypeError, "numpy.asarray(tensor)"),
        (lambda x: x[3], IndexError, "index 3 is out of bounds for dimension 0 of size 3"),
        (lambda x: x[0, 0], IndexError, "a deploy.Tensor of 1 dimensions was indexed with 2"),
        (lambda x: x.__setitem__(0, 1), TypeError, "numpy.asarray(tensor)[...] = value"),
        (lambda x: len(x[0]), TypeError, "item()"),
        (lambda x: list(x[0]), TypeError, "item()"),
    ],
    ids=["method", "eq", "ne", "bool", "float", "str", "list", "outside", "too many", "write", "len", "iteration"],
)
def test_what_it_does_not_do_says_what_does(use, error, said):
    x = tensor(numpy.arange(3.0))
    with pytest.raises(error) as caught:
        use(x)
    assert said in str(caught.value)


def test_identity_hash_and_foreign_comparisons_are_as_before():
    x = tensor(numpy.zeros(2))
    assert {x: 1}[x] == 1
    assert x != None  # noqa: E711
    assert x != "text"
    assert x in [x]


def test_awaiting_a_result_says_how_to_wait_for_a_call():
    async def wrong():
        await tensor(numpy.zeros(1))

    with pytest.raises(TypeError, match=r"await asyncio.to_thread\(model, x\)"):
        asyncio.run(wrong())


def test_a_type_that_numpy_does_not_have_says_who_has_it():
    torch = pytest.importorskip("torch", reason="torch is not in this environment")
    x = deploy.Tensor(torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
    assert x.tolist() == [1.5, -2.0]
    with pytest.raises(TypeError, match=r"numpy has no array of bfloat16 on cpu; use torch.from_dlpack\(tensor\)"):
        numpy.asarray(x)
    with pytest.raises(BufferError, match="torch.from_dlpack"):
        memoryview(x)
    with pytest.raises(TypeError, match="Python has no number for an element of type float8_e4m3fn"):
        deploy.Tensor(torch.zeros(1).to(torch.float8_e4m3fn)).item()
    assert torch.from_dlpack(x)[1] == -2
