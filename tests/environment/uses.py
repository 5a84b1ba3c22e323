"""A small real use of each package. Each returns a plain value that comes out of its native code and is the same in every run."""

import hashlib
import tempfile


def _digest(data):
    return hashlib.sha256(bytes(data)).hexdigest()[:16]


def use_numpy():
    import numpy

    rng = numpy.random.default_rng(7)
    a = rng.standard_normal((120, 120))
    values, vectors = numpy.linalg.eigh(a @ a.T)
    spectrum = numpy.fft.rfft(a[0])
    try:
        numpy.linalg.inv(numpy.zeros((2, 2)))
    except numpy.linalg.LinAlgError as error:
        message = str(error)
    orthogonal = bool(numpy.allclose(vectors.T @ vectors, numpy.eye(120)))
    return [round(float(values[-1]), 6), orthogonal, round(float(abs(spectrum[3])), 9), message]


def use_torch():
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 14 * 14, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(4, 3, 16, 16), torch.tensor([1, 2, 3, 4])
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(round(loss.item(), 4))
    try:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    except RuntimeError as error:
        return losses, str(error)


def use_scipy():
    import numpy
    from scipy import integrate, linalg, ndimage, optimize, signal, sparse, spatial, special, stats
    from scipy.sparse import linalg as sparse_linalg

    grid = numpy.linspace(0, 1, 40)
    a = sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(40, 40)).tocsc()
    tree = spatial.cKDTree(numpy.stack([grid, grid**2], axis=1))
    return [
        round(float(linalg.expm(numpy.eye(3))[0, 0]), 9),
        round(float(sparse_linalg.spsolve(a, grid)[7]), 9),
        round(float(optimize.minimize(lambda v: (v[0] - 2) ** 2 + (v[1] + 1) ** 2, [0, 0], method="L-BFGS-B").x[0]), 4),
        round(integrate.quad(lambda t: t**3, 0, 2)[0], 9),
        round(float(integrate.solve_ivp(lambda t, y: -y, (0, 1), [1.0], method="LSODA").y[0, -1]), 3),
        round(float(special.gamma(4.5)), 9),
        round(float(stats.norm.cdf(0.3)), 9),
        round(float(signal.convolve(grid, grid)[39]), 9),
        round(float(ndimage.gaussian_filter(grid, 2)[5]), 9),
        int(tree.query([0.5, 0.2])[1]),
    ]


def use_pandas():
    import io

    import pandas

    frame = pandas.read_csv(io.StringIO("when,key,value\n2024-01-01,a,1\n2024-02-01,b,2\n2024-02-03,a,4.5\n"), parse_dates=["when"])
    total = frame.groupby("key")["value"].sum()
    return [total.to_dict(), frame.set_index("when")["value"].resample("MS").mean().tolist(), frame.merge(frame, on="key").shape]


def use_sklearn():
    from sklearn.cluster import KMeans
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    x, y = make_classification(n_samples=200, n_features=8, random_state=0)
    trees = [RandomForestClassifier(20, random_state=0), HistGradientBoostingClassifier(max_iter=20, random_state=0)]
    models = [LogisticRegression(), SVC(), *trees]
    scores = [round(float(model.fit(x, y).score(x, y)), 4) for model in models]
    return scores, round(float(KMeans(3, n_init=2, random_state=0).fit(x).inertia_), 3)


def use_pyarrow():
    import pyarrow
    from pyarrow import compute, csv, dataset, parquet

    table = pyarrow.table({"key": ["a", "b", "a", None], "value": [1, 2, 3, 4]})
    with tempfile.TemporaryDirectory() as folder:
        parquet.write_table(table, folder + "/t.parquet", compression="zstd")
        back = dataset.dataset(folder + "/t.parquet").to_table(filter=compute.field("value") > 1)
        csv.write_csv(table, folder + "/t.csv")
        text = csv.read_csv(folder + "/t.csv").num_rows
    try:
        pyarrow.array([1, "x"], pyarrow.int64())
    except pyarrow.ArrowInvalid as error:
        message = str(error).splitlines()[0]
    grouped = back.group_by("key").aggregate([("value", "sum")]).sort_by("value_sum").to_pydict()
    plus_one = compute.call_function("add", [table["value"], 1]).to_pylist()
    return grouped, text, message, plus_one, _python_function_in_arrow(pyarrow, compute)


def _python_function_in_arrow(pyarrow, compute):
    """Arrow calls back into Python, from its own code."""
    if "deploy_double" not in compute.list_functions():
        compute.register_scalar_function(
            lambda context, x: pyarrow.array([2 * v.as_py() for v in x], pyarrow.int64()),
            "deploy_double",
            {"summary": "doubles", "description": "doubles"},
            {"x": pyarrow.int64()},
            pyarrow.int64(),
        )
    return compute.call_function("deploy_double", [pyarrow.array([1, 2, 3])]).to_pylist()


def use_pillow():
    import io

    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    ImageDraw.Draw(image).text((4, 4), "deploy", fill="red", font=ImageFont.load_default(16))
    image = image.filter(ImageFilter.GaussianBlur(1))
    digests = []
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "JPEG2000", "AVIF"):
        file = io.BytesIO()
        image.save(file, kind)
        file.seek(0)
        digests.append((kind, _digest(Image.open(file).convert("RGB").tobytes())))
    return digests


def use_tokenizers():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(special_tokens=["?"], vocab_size=60, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat", "a dog and the cat"] * 20, trainer)
    return [e.tokens for e in tokenizer.encode_batch(["the cat", "a mat"] * 20)][:2], tokenizer.get_vocab_size()


def use_safetensors():
    import numpy
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    data = save({"a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3)})
    try:
        load(b"x" * 20)
    except SafetensorError as error:
        return load(data)["a"].tolist(), str(error)


def use_sentencepiece():
    import io

    import sentencepiece

    model = io.BytesIO()
    text = [f"the cat number {i} sat on mat number {i * 7 % 13}" for i in range(200)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, vocab_size=40, minloglevel=2, num_threads=1
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return processor.encode("the cat sat", out_type=str), processor.decode(processor.encode("the cat sat"))


def use_regex():
    import regex

    return regex.findall(r"(?e)(?:cats){e<=1}|\p{Lu}+", "cat cots CATS Ärger ÄÖ"), regex.sub(r"(?V1)[[a-z]--[aeiou]]", "-", "hello")


def use_lxml():
    from lxml import etree, html

    root = etree.fromstring(b"<r><a n='1'>x</a><a n='2'>y</a></r>")
    style = etree.XSLT(
        etree.XML(
            '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">'
            '<o><xsl:value-of select="sum(//@n)"/></o></xsl:template></xsl:stylesheet>'
        )
    )
    try:
        etree.fromstring(b"<r><a></r>")
    except etree.XMLSyntaxError as error:
        message = str(error).split(",")[0]
    return root.xpath("//a[@n='2']/text()"), str(style(root)), html.fromstring("<p>a<br>b").text_content(), message


def use_grpc():
    from concurrent import futures

    import grpc

    def shout(request, context):
        return request.upper()

    handler = grpc.method_handlers_generic_handler("deploy.Echo", {"Shout": grpc.unary_unary_rpc_method_handler(shout)})
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/deploy.Echo/Shout")
            answers = [call(f"call {i}".encode(), timeout=20) for i in range(20)]
            try:
                channel.unary_unary("/deploy.Echo/Nothing")(b"", timeout=20)
            except grpc.RpcError as error:
                code = error.code().name
    finally:
        server.stop(None).wait()
    return answers[-1], len(set(answers)), code


def use_psutil():
    import os

    import psutil

    process = psutil.Process()
    return (
        process.pid == os.getpid(),
        process.memory_info().rss > 0,
        psutil.cpu_count() >= 1,
        psutil.virtual_memory().total > 0,
        len(process.threads()) > 0,
    )


def use_matplotlib():
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(3, 2), dpi=80)
    axes.plot([0, 1, 2], [1, 3, 2], label="$\\alpha$")
    axes.contourf([[0, 1], [2, 3]])
    axes.legend()
    files = []
    for kind in ("raw", "svg", "pdf"):
        file = io.BytesIO()
        figure.savefig(file, format=kind)
        files.append(file.getvalue())
    pyplot.close(figure)
    return _digest(files[0]), [len(file) > 1000 for file in files]


def use_cv2():
    import cv2
    import numpy

    cv2.setNumThreads(2)
    image = numpy.zeros((96, 96, 3), numpy.uint8)
    cv2.circle(image, (48, 48), 30, (0, 128, 255), -1)
    cv2.putText(image, "ok", (10, 80), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    edges = cv2.Canny(cv2.GaussianBlur(image, (5, 5), 0), 50, 150)
    contours, _ = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    decoded = cv2.imdecode(cv2.imencode(".png", image)[1], cv2.IMREAD_COLOR)
    points = cv2.goodFeaturesToTrack(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 10, 0.01, 5)
    try:
        cv2.cvtColor(numpy.zeros((2, 2), numpy.uint8), cv2.COLOR_BGR2GRAY)
    except cv2.error as error:
        code = error.code
    return int(edges.sum()), len(contours), bool((decoded == image).all()), len(points), code


def use_numba():
    import numba
    import numpy

    @numba.njit
    def mandelbrot(c):
        z = 0j
        for i in range(50):
            if abs(z) > 2:
                return i
            z = z * z + c
        return 50

    @numba.vectorize(["float64(float64, float64)"])
    def hypotenuse(a, b):
        return (a * a + b * b) ** 0.5

    @numba.njit(parallel=True)
    def total(a):
        result = 0.0
        for i in numba.prange(a.size):
            result += a[i]
        return result

    @numba.njit
    def fails(names, i):
        if i not in names:
            raise KeyError("no such name")
        return names[i].upper()

    names = numba.typed.Dict()
    names[1] = "one"
    try:
        fails(names, 2)
    except KeyError as error:
        message = str(error)

    @numba.cfunc("float64(float64)")
    def third_power(x):
        return x**3

    with_object = numba.jit(forceobj=True)(lambda x: [str(x), type(x).__name__])
    return (
        [mandelbrot(complex(c / 10, 0.3)) for c in range(-20, 5, 5)],
        hypotenuse(numpy.arange(3.0), 4.0).tolist(),
        total(numpy.arange(1000.0)),
        fails(names, 1),
        message,
        third_power.ctypes(2.0),
        with_object(3),
    )


def use_triton():
    """Compiles a kernel down to a GPU's code, which needs no GPU."""
    import importlib.util
    import os

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = (
        "import triton\nimport triton.language as tl\n\n@triton.jit\ndef add(x, y, out, n, BLOCK: tl.constexpr):\n"
        "    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n    mask = at < n\n"
        "    tl.store(out + at, tl.load(x + at, mask) + tl.load(y + at, mask), mask)\n"
    )
    with tempfile.TemporaryDirectory() as folder, triton.knobs.cache.scope():
        triton.knobs.cache.dir = folder
        path = os.path.join(folder, "kernel.py")
        with open(path, "w") as file:
            file.write(source)
        spec = importlib.util.spec_from_file_location("kernel", path)
        kernel = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernel)
        signature = {"x": "*fp32", "y": "*fp32", "out": "*fp32", "n": "i32", "BLOCK": "constexpr"}
        compiled = triton.compile(
            ASTSource(fn=kernel.add, signature=signature, constexprs={"BLOCK": 128}), target=GPUTarget("cuda", 80, 32)
        )
        ptx = compiled.asm["ptx"]
    return "add.f32" in ptx, ptx.count("\n") > 20, sorted(compiled.asm)


def use_h5py():
    """libhdf5 keeps the types and conversion functions that h5py registers for the whole process."""
    import io

    import h5py
    import numpy

    file = io.BytesIO()
    with h5py.File(file, "w") as f:
        f.create_dataset("z", data=numpy.arange(1000.0), chunks=(100,), compression="gzip")
        f["reference"] = f["z"].ref
        f["text"] = "h5py"
        try:
            f["nothing"]
        except KeyError as error:
            message = str(error)
    with h5py.File(io.BytesIO(file.getvalue()), "r") as f:
        return float(f[f["reference"][()]][:].sum()), f["text"][()].decode(), message


def use_netCDF4():  # noqa: N802
    import netCDF4
    import numpy

    written = netCDF4.Dataset("in_memory.nc", "w", memory=1024)
    written.createDimension("x", 5)
    written.createVariable("v", "f8", ("x",), zlib=True)[:] = numpy.arange(5.0)
    read = netCDF4.Dataset("read.nc", memory=written.close())
    total = float(read["v"][:].sum())
    read.close()
    return total


def use_pyzmq():
    import zmq

    context = zmq.Context()
    a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    a.bind("inproc://x")
    b.connect("inproc://x")
    a.send_string("over")
    received = b.recv_string()
    a.close()
    b.close()
    context.term()
    return received, zmq.zmq_version()


def use_soundfile():
    import io

    import numpy
    import soundfile

    sizes = []
    for kind in ("WAV", "FLAC", "OGG"):
        file = io.BytesIO()
        soundfile.write(file, numpy.zeros(1000), 8000, format=kind)
        file.seek(0)
        sizes.append(len(soundfile.read(file)[0]))
    return sizes


def use_psycopg2():
    import psycopg2

    try:
        psycopg2.connect("host=/nonexistent dbname=x connect_timeout=1")
    except psycopg2.OperationalError as error:
        return str(error).strip(), psycopg2.extensions.libpq_version()


def use_shapely():
    import shapely

    try:
        shapely.from_wkt("POINT (")
    except shapely.errors.GEOSException as error:
        message = str(error)
    return round(shapely.Point(0, 0).buffer(1).area, 6), message


def use_pyproj():
    import pyproj

    transformer = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    try:
        pyproj.CRS("no such system")
    except pyproj.exceptions.CRSError as error:
        message = str(error)
    return [round(x, 3) for x in transformer.transform(10, 20)], message
