"""Files of a user's own cases: the grammar of layers, bad lines, the lists against the papers."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npconv.oracle.cases import Case
from npconv.oracle.layers import DATA, Layer, read_cases, shipped

ALL = Layer(
    batch=3, in_channels=4, out_channels=6, groups=2, extents=(9, 11), kernel=(3, 2),
    stride=(2, 1), padding=(1, 0), dilation=(2, 3),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ('g2mb3ic4ih9iw11oc6oh4ow8kh3kw2sh2sw1ph1pw0dh1dw2n"all"', ALL),
        ("g2mb3_ic4ih9iw11_oc6oh4ow8_kh3kw2_sh2sw1_ph1pw0_dh1dw2_n'all'", ALL),
        ("dw2dh1pw0ph1sw1sh2kw2kh3oc6iw11ih9ic4mb3g2", ALL),
        ('  ic4ih9oc6kh3n""  ', Layer(2, 4, 6, 1, (9, 9), (3, 3), (1, 1), (0, 0), (1, 1))),
        ("ic4ih9oc6kh3sh2ph1dh1", Layer(2, 4, 6, 1, (9, 9), (3, 3), (2, 2), (1, 1), (2, 2))),
        ("ic4ih9iw8oc6kh3", Layer(2, 4, 6, 1, (9, 8), (3, 3), (1, 1), (0, 0), (1, 1))),
        ("mb0ic4ih9oc6kh3", Layer(0, 4, 6, 1, (9, 9), (3, 3), (1, 1), (0, 0), (1, 1))),
    ],
)
def test_layer_reads_keys_and_defaults(text: str, layer: Layer) -> None:
    """Keys come in any order; batch is 2, strides 1, pads 0; the width is as the height."""
    assert Layer.parse(text) == layer


@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.tuples(st.integers(1, 9), st.integers(1, 9))] * 5),
)
def test_layer_reads_back_what_is_written(
    channels: tuple[int, int, int], pairs: tuple[tuple[int, int], ...]
) -> None:
    """Whatever legal sizes a line gives, they come back, and the dilation is one more."""
    groups, group_in, group_out = channels
    kernel, stride, padding, dilation, more = pairs
    extents = tuple((d * (k - 1) + m) for d, k, m in zip(dilation, kernel, more, strict=True))
    layer = Layer(
        2, groups * group_in, groups * group_out, groups, extents, kernel, stride, padding, dilation
    )
    (h, w), (kh, kw), (sh, sw), (ph, pw), (dh, dw) = extents, kernel, stride, padding, dilation
    text = (
        f"g{groups}ic{layer.in_channels}oc{layer.out_channels}ih{h}iw{w}kh{kh}kw{kw}"
        f"sh{sh}sw{sw}ph{ph}pw{pw}dh{dh - 1}dw{dw - 1}"
    )
    assert Layer.parse(text) == layer
    oh, ow = ((m + 2 * p - 1) // s + 1 for m, p, s in zip(more, padding, stride, strict=True))
    assert Layer.parse(f"{text}oh{oh}ow{ow}") == layer
    with pytest.raises(ValueError, match=f"ow={ow + 1}, but the output has {ow} columns"):
        Layer.parse(f"{text}ow{ow + 1}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ic4ih9oc6", "layer 'ic4ih9oc6': kh is missing; ic, ih, oc and kh are needed"),
        ("ic4iw9oc6kh3", "ih is missing"),
        ("ic4ih9oc6kh3oh8", "oh=8, but the output has 7 rows"),
        ("ic4ih9oc6kh3ic4", "ic stands twice"),
        ("ic4ih9oc6kh3xy4", "no key 'xy'; there are g, mb, ic,"),
        ("ic4id9ih9oc6kh3", "id is of 3-D convolution"),
        ("ic4ih9oc6kh", "'kh' must be keys with numbers"),
        ("ic4ih9oc6kh-3", "'kh-3' must be keys with numbers"),
        ("ic4 ih9oc6kh3", "' ih9oc6kh3' must be keys with numbers"),
        ('ic4ih9oc6kh3n"x', "'n\"x' must be keys with numbers"),
        ("resnet 50", "'resnet 50' must be keys with numbers"),
        ("g3ic4ih9oc6kh3", "groups=3 must divide"),
        ("ic4ih9oc6kh3sh0", "stride"),
        ("ic4ih2oc6kh3", "kernel"),
        ("ic9999999999ih2oc6kh3", "must be keys with numbers"),
    ],
)
def test_bad_layers_are_told(text: str, message: str) -> None:
    """What is no layer, an illegal one, or one of another output, is told in one line."""
    with pytest.raises(ValueError, match=r"\Alayer ") as caught:
        Layer.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


ID = "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"


def write(folder: Path, text: str) -> str:
    """Write a file of cases."""
    path = folder / "mine.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_holds_ids_layers_and_comments(tmp_path: Path) -> None:
    """Ids stay, layers become a case per dtype and kind of data, in the file's order."""
    name = write(tmp_path, f'# mine\n\n {ID}  # an id\nic4ih9oc6kh3n"a # b" # a layer\n')
    assert read_cases(name) == (
        ID,
        *(Layer.parse("ic4ih9oc6kh3").case("float32", d).id for d in DATA),
    )
    cases = [Case.from_id(text) for text in read_cases(name, ["float64", "int8"])][1:]
    assert [(case.dtype, case.data) for case in cases] == [
        (dtype, data) for dtype in ("float64", "int8") for data in ("integers", "reals")
    ]
    assert {(c.batch, c.bias, c.mask, c.layout, c.padding_form) for c in cases} == {
        (2, True, "111", "packed", "pair")
    }


def test_each_bad_line_of_a_file_is_told(tmp_path: Path) -> None:
    """Every bad line has a line of its own, with file and line, and so have doubles."""
    name = write(
        tmp_path,
        f'{ID}\nic4ih9oc6kh3n"a"\nic4ih9oc6\n{ID}x\n\n--mb=1\nic4ih9iw9oc6kh3n"b"\n{ID}\nc4f6g2\n',
    )
    with pytest.raises(ValueError, match="mine") as caught:
        read_cases(name)
    lines = str(caught.value).splitlines()
    starts = [
        f"{name}:3: layer 'ic4ih9oc6': kh is missing",
        f"{name}:4: case id",
        f"{name}:6: '--mb=1': options of benchdnn are not read",
        f"{name}:7: 'ic4ih9iw9oc6kh3n\"b\"' is the same as line 2",
        f"{name}:8: {ID!r} is the same as line 1",
        f"{name}:9: case id 'c4f6g2' must look like",
    ]
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    """A file of another kind is not told line by line to its end."""
    name = write(tmp_path, "no layer\n" * 1000)
    with pytest.raises(ValueError, match="mine") as caught:
        read_cases(name)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == f"{name}: and 980 more"


def test_files_that_hold_nothing_are_told(tmp_path: Path) -> None:
    """An empty file, one that is no text, and one that is not there, are refused in one line."""
    with pytest.raises(ValueError, match="holds neither a case id nor a layer"):
        read_cases(write(tmp_path, "# nothing\n"))
    (tmp_path / "mine.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="must be text in UTF-8"):
        read_cases(str(tmp_path / "mine.txt"))
    with pytest.raises(FileNotFoundError, match=r"no file 'resnet51', .* mobilenet_v1, .*resnet50"):
        read_cases("resnet51")


# ------------------------------------------------------------------------ the lists

#: Name, groups, input channels, output channels, kernel, stride of a layer, in the network's order.
Row = tuple[int, int, int, int, int]


def resnet50(strided: int) -> Iterator[tuple[int, Row]]:
    """Yield (input size, layer) of He et al. 2015, table 1; `strided` is 1 or 2 in a block of 3.

    The pooling after the first layer halves the size again.
    """
    yield 224, (1, 3, 64, 7, 2)
    size, channels = 56, 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = first if block == 0 else 1
            strides = (stride, 1) if strided == 1 else (1, stride)
            if block == 0:
                yield size, (1, channels, 4 * width, 1, stride)
            yield size, (1, channels, width, 1, strides[0])
            yield size // strides[0], (1, width, width, 3, strides[1])
            yield size // stride, (1, width, 4 * width, 1, 1)
            size, channels = size // stride, 4 * width


def mobilenet_v1() -> Iterator[tuple[int, Row]]:
    """Yield (input size, layer) of Howard et al. 2017, table 1."""
    yield 224, (1, 3, 32, 3, 2)
    size, channels = 112, 32
    for stride, out in (
        (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024),
        (1, 1024),
    ):  # fmt: skip
        yield size, (channels, channels, channels, 3, stride)
        size //= stride
        yield size, (1, channels, out, 1, 1)
        channels = out
    assert (size, channels) == (7, 1024)


def mobilenet_v2() -> Iterator[tuple[int, Row]]:
    """Yield (input size, layer) of Sandler et al. 2018, table 2: t, c, n, s of each line."""
    yield 224, (1, 3, 32, 3, 2)
    size, channels = 112, 32
    for expansion, out, repeats, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for stride in (first, *[1] * (repeats - 1)):
            wide = expansion * channels
            if expansion > 1:
                yield size, (1, channels, wide, 1, 1)
            yield size, (wide, wide, wide, 3, stride)
            size //= stride
            yield size, (1, wide, out, 1, 1)
            channels = out
    yield size, (1, channels, 1280, 1, 1)
    yield 1, (1, 1280, 1000, 1, 1)


NETWORKS = {
    "resnet50": lambda: itertools.chain(resnet50(1), resnet50(2)),
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
}


@pytest.mark.parametrize("name", shipped())
def test_list_is_the_networks_layers(name: str) -> None:
    """A shipped list holds each distinct layer of the paper's table once, and no other."""
    found = [Case.from_id(text) for text in read_cases(name)]
    wanted = {
        Case(
            1, channels, out, groups, (size, size), (kernel, kernel), (stride, stride),
            (kernel // 2, kernel // 2), (1, 1), True, "111", "float32", "packed", data, 0,
        )
        for size, (groups, channels, out, kernel, stride) in NETWORKS[name]()
        for data in DATA
    }  # fmt: skip
    assert set(found) == wanted
    assert len(found) == len(wanted)


@pytest.mark.parametrize("name", shipped())
def test_list_runs_from_layer_to_layer(name: str) -> None:
    """What each layer of a list puts out, in channels and size, another one or pooling takes in."""
    cases = [Case.from_id(text) for text in read_cases(name)]
    taken = {(case.in_channels, *case.extents) for case in cases}
    given = {(case.out_channels, *case.geometry.out) for case in cases}
    # The first layer of ResNet goes through pooling, the last ones of all through the mean.
    pooled = {
        "resnet50": {(64, 112, 112), (2048, 7, 7)},
        "mobilenet_v1": {(1024, 7, 7)},
        "mobilenet_v2": {(1280, 7, 7), (1000, 1, 1)},
    }[name]
    assert given - taken == pooled - taken
    assert taken - given == {(3, 224, 224)} | {
        "resnet50": {(64, 56, 56)}, "mobilenet_v1": set(), "mobilenet_v2": {(1280, 1, 1)},
    }[name] - given  # fmt: skip


@pytest.mark.parametrize("name", shipped())
def test_list_gives_the_output_of_each_line(name: str) -> None:
    """Each line of a shipped list says the size of its output, so that it is checked."""
    text = Path(read_cases.__code__.co_filename).parents[1].joinpath("layers", f"{name}.txt")
    for line in text.read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("#") or "oh" in line


def test_a_shipped_name_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a list's name is meant by a path; the bare name stays the list's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50").write_text(ID)
    assert len(read_cases("resnet50")) > 1
    assert read_cases("./resnet50") == (ID,)


def test_a_layers_case_is_as_wide_as_its_id() -> None:
    """A layer's case has an id that rebuilds it."""
    case = ALL.case("float16", "reals")
    assert Case.from_id(case.id) == case
    assert replace(case, dtype="float32") == ALL.case("float32", "reals")
