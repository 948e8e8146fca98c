"""What counts as an implementation, what it may declare, what it is asked, how it is called."""

# ruff: noqa: ARG002, ARG005  # what a user's function takes and leaves unused is what is tested

import re
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv.oracle.cases import LAYOUTS, Case
from npconv.oracle.data import operands
from npconv.oracle.protocol import OPS, Implementation, NotAnImplementationError, Supports
from npconv.oracle.suites import suite_named

CASE = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")
DENSE = replace(CASE, groups=1, dilation=(1, 1))


def nothing(*_: Any) -> None:
    """Stand for any function of an implementation."""


class Instance:
    """Functions as methods, and a declaration as a class attribute."""

    supports = {"dtypes": ["float32"]}  # noqa: RUF012  # as a user would write it

    def conv2d(self, *arguments: Any) -> tuple[Any, ...]:
        """Return what came."""
        return arguments


class Static:
    """A class whose functions need no instance."""

    @staticmethod
    def conv2d_weight(*arguments: Any) -> tuple[Any, ...]:
        """Return what came."""
        return arguments


def module(**members: Any) -> ModuleType:
    """Make a module of these."""
    made = ModuleType("made")
    vars(made).update(members)
    return made


@pytest.mark.parametrize(
    ("target", "ops"),
    [
        (nothing, ("forward",)),
        (Instance(), ("forward",)),
        (Static, ("grad_weight",)),
        (module(conv2d=nothing, conv2d_backward=nothing), OPS),
        (module(conv2d_backward=nothing, conv2d=7), OPS[1:]),
        (SimpleNamespace(conv2d_input=nothing, conv2d_bias=nothing), ("grad_input", "grad_bias")),
        (npconv, OPS),
    ],
)
def test_implementation_is_any_object_with_the_functions(target: Any, ops: Any) -> None:
    """A function, an instance, a class, a module and a namespace serve, by their functions."""
    assert Implementation.of(target, "it").supports.ops == ops


@pytest.mark.parametrize("target", [None, 5, "conv2d", module(), SimpleNamespace(conv2d=3), []])
def test_object_without_functions_is_refused(target: Any) -> None:
    """What has none of the functions and cannot be called is refused by name, in one line."""
    says = "it must be a function or have one of conv2d, conv2d_backward, conv2d_input, "
    with pytest.raises(NotAnImplementationError, match=says) as caught:
        Implementation.of(target, "it")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TypeError)


def declared(value: Any) -> Supports:
    """What is read out of a declaration."""
    target = SimpleNamespace(conv2d=nothing, conv2d_backward=nothing, supports=value)
    return Implementation.of(target, "it").supports


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "it: supports=None must be a dict"),
        (["float32"], "it: supports=['float32'] must be a dict"),
        (nothing, "must be a dict"),
        ({"dtype": ["float32"]}, "it: supports has no 'dtype'; there are ops, dtypes, padding"),
        ({5: True}, "it: supports has no 5; there are"),
        ({"ops": ["conv2d"]}, "it: supports['ops']=['conv2d'] must list some of forward, grad_"),
        ({"ops": 3}, "it: supports['ops']=3 must list some of"),
        ({"ops": None}, "it: supports['ops']=None must list some of"),
        ({"dtypes": "float32"}, "it: supports['dtypes']='float32' must list some of bfloat16"),
        ({"dtypes": [np.float32]}, "must list some of bfloat16"),
        ({"dtypes": ["float32", "float8"]}, "must list some of bfloat16"),
        ({"dtypes": [["float32"]]}, "must list some of bfloat16"),
        ({"padding": ["both"]}, "supports['padding']=['both'] must list some of pair, string"),
        ({"layouts": ["NHWC"]}, "supports['layouts']=['NHWC'] must list some of packed"),
        ({"empty": ["groups"]}, "supports['empty']=['groups'] must list some of batch, channels"),
        ({"groups": "no"}, "it: supports['groups']='no' must be True or False"),
        ({"groups": 1}, "it: supports['groups']=1 must be True or False"),
        ({"dilation": None}, "it: supports['dilation']=None must be True or False"),
        ({"unbatched": ()}, "it: supports['unbatched']=() must be True or False"),
    ],
)
def test_bad_declaration_gives_one_line(value: Any, says: str) -> None:
    """A key that is none, or a value that is not of its kind, raises TypeError in one line."""
    with pytest.raises(NotAnImplementationError, match=re.escape(says)) as caught:
        declared(value)
    assert "\n" not in str(caught.value)


def test_declared_operations_need_a_function() -> None:
    """An operation that no function serves cannot be declared."""
    target = SimpleNamespace(conv2d=nothing, supports={"ops": ["forward", "grad_bias"]})
    says = "supports['ops'] lists grad_bias, but has no function for it"
    with pytest.raises(NotAnImplementationError, match=re.escape(says)):
        Implementation.of(target, "it")


def test_undeclared_is_what_the_contract_says() -> None:
    """Undeclared: float32 and float64, pairs, dilation, groups, every layout; nothing empty."""
    assert declared({}) == Supports(OPS)
    assert Supports(OPS) == Supports(
        ops=OPS,
        dtypes=("float32", "float64"),
        padding=("pair",),
        dilation=True,
        groups=True,
        layouts=LAYOUTS,
        unbatched=False,
        empty=(),
    )


def test_lists_may_be_all_or_none() -> None:
    """True stands for all of a list, False for none; any sequence or set does, in any order."""
    everything = declared({"padding": True, "empty": True, "layouts": {"stepped", "packed"}})
    assert everything.padding == ("pair", "string", "four-sided")
    assert everything.empty == ("batch", "channels")
    assert everything.layouts == ("packed", "stepped")
    assert declared({"padding": False}).padding == ()
    assert declared({"ops": ("grad_bias", "forward")}).ops == ("forward", "grad_bias")
    assert declared({"groups": np.False_}).groups is False


def test_declared_dtypes_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 without its package is one line; 'all' is then all the others."""
    names = ("float16", "float32", "float64")
    monkeypatch.setattr("npconv.oracle.protocol.available", lambda: names)
    with pytest.raises(NotAnImplementationError, match="bfloat16, which needs the package ml_dt"):
        declared({"dtypes": ["bfloat16"]})
    assert declared({"dtypes": True}).dtypes == names


@pytest.mark.parametrize(
    ("value", "case", "field"),
    [
        ({}, CASE, None),
        ({}, replace(CASE, dtype="float16"), "dtypes"),
        ({"dtypes": ["float16"]}, replace(CASE, dtype="float16"), None),
        ({"dtypes": ["float16"]}, CASE, "dtypes"),
        ({}, replace(CASE, padding="valid"), "padding"),
        ({}, replace(CASE, padding=((1, 1), (0, 0))), "padding"),
        ({"padding": ["string"]}, replace(CASE, padding="valid"), None),
        ({"padding": ["string"]}, CASE, "padding"),
        ({"padding": ["four-sided"]}, replace(CASE, padding=((1, -1), (0, 0))), None),
        ({"dilation": False}, CASE, "dilation"),
        ({"dilation": False}, replace(CASE, dilation=(1, 1)), None),
        ({"groups": False}, CASE, "groups"),
        ({"groups": False}, replace(CASE, groups=1), None),
        ({"layouts": ["packed"]}, CASE, None),
        ({"layouts": ["packed"]}, replace(CASE, layout="stepped"), "layouts"),
        ({"layouts": ["packed"]}, replace(CASE, layout="stepped_weight"), "layouts"),
        ({"layouts": ["stepped"]}, replace(CASE, layout="stepped_weight"), "layouts"),
        ({"layouts": ["stepped"]}, replace(CASE, layout="stepped"), None),
        ({"layouts": ["packed", "stepped"]}, replace(CASE, layout="stepped_weight"), None),
        ({}, replace(CASE, batch=None), "unbatched"),
        ({"unbatched": True}, replace(CASE, batch=None), None),
        ({"unbatched": True}, CASE, None),
        ({}, replace(CASE, batch=0), "empty"),
        ({}, replace(CASE, in_channels=0), "empty"),
        ({"empty": ["batch"]}, replace(CASE, batch=0), None),
        ({"empty": ["batch"]}, replace(CASE, in_channels=0), "empty"),
        ({"empty": ["batch"]}, replace(CASE, batch=0, in_channels=0), "empty"),
        ({"empty": ["channels"]}, replace(CASE, in_channels=0), None),
        ({"empty": True}, replace(CASE, batch=0, in_channels=0), None),
    ],
)
def test_asked_is_what_lies_within_the_declaration(value: Any, case: Case, field: Any) -> None:
    """Each field widens or narrows what is asked, and the field that leaves a case out is named."""
    supports = declared(value)
    assert supports.leaves_out(case) == field
    assert supports.asks(case) == (field is None)


def test_illegal_cases_are_asked_of_a_default_implementation() -> None:
    """That a case is illegal does not leave it out."""
    suite = suite_named("quick")
    illegal = [suite[i] for i in range(len(suite)) if suite[i].illegal is not None]
    everything = declared({"dtypes": True, "padding": True, "unbatched": True, "empty": True})
    assert all(everything.asks(case) for case in illegal)
    pairs = [case for case in illegal if Supports(OPS).leaves_out(case) != "padding"]
    assert any(case.illegal for case in pairs)
    assert all(Supports(OPS).asks(case) for case in pairs if case.padding_form == "pair")


def test_forward_is_called_as_the_contract_says() -> None:
    """conv2d gets input, weight, bias or None, stride, padding, dilation, groups, by position."""
    for case in (CASE, replace(CASE, bias=False)):
        arrays = operands(case)
        got = Implementation.of(Instance(), "it").forward(case, arrays)
        assert got[0] is arrays.input
        assert got[1] is arrays.weight
        assert got[2] is arrays.bias
        assert (got[2] is None) == (not case.bias)
        assert got[3:] == ((2, 1), (1, 0), (1, 2), 2)


def test_backward_is_called_as_the_contract_says() -> None:
    """conv2d_backward gets grad_output, input, weight, the parameters and the mask."""
    arrays = operands(CASE)
    it = Implementation.of(SimpleNamespace(conv2d_backward=lambda *a: a), "it")
    got = it.gradients(CASE, arrays, (True, False, True))
    assert all(
        a is b for a, b in zip(got, (arrays.grad_output, arrays.input, arrays.weight), strict=False)
    )
    assert got[3:] == ((2, 1), (1, 0), (1, 2), 2, (True, False, True))


def test_single_gradients_are_called_where_there_is_no_backward() -> None:
    """conv2d_input, conv2d_weight and conv2d_bias get their arguments; the mask leaves them out."""
    arrays = operands(CASE)
    target = SimpleNamespace(
        conv2d_input=lambda *a: a, conv2d_weight=lambda *a: a, conv2d_bias=lambda *a: a
    )
    it = Implementation.of(target, "it")
    of_input, of_weight, of_bias = it.gradients(CASE, arrays, (True, True, True))
    assert of_input[0] == (2, 4, 7, 9)
    assert of_input[1] is arrays.weight
    assert of_input[2] is arrays.grad_output
    assert of_weight[0] is arrays.input
    assert of_weight[1] == (6, 2, 3, 2)
    assert of_weight[2] is arrays.grad_output
    assert of_input[3:] == of_weight[3:] == ((2, 1), (1, 0), (1, 2), 2)
    assert len(of_bias) == 1
    assert of_bias[0] is arrays.grad_output
    assert it.gradients(CASE, arrays, (False, True, False))[::2] == (None, None)
    del target.conv2d_input
    assert Implementation.of(target, "it").gradients(CASE, arrays, (True,) * 3)[0] is None


def test_backward_comes_before_single_gradients() -> None:
    """Where there is a conv2d_backward, the single functions are not called."""
    target = SimpleNamespace(conv2d_backward=lambda *_: "both", conv2d_input=lambda *_: "single")
    it = Implementation.of(target, "it")
    assert it.gradients(DENSE, operands(DENSE), (True,) * 3) == "both"


# --------------------------------------------------- result dtypes, padding by name


def test_result_dtypes_are_read_by_operation() -> None:
    """One dtype for all operations, or one for some; what is undeclared is the arrays' own."""
    found = declared(
        {
            "dtypes": ["int8", "float16", "float32"],
            "result_dtypes": {"int8": "int32", "float16": {"forward": "float32"}},
        }
    )
    assert [found.result_dtype(op, "int8") for op in OPS] == ["int32"] * 4
    assert [found.result_dtype(op, "float16") for op in OPS] == ["float32", *["float16"] * 3]
    assert found.result_dtype("forward", "float32") == "float32"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("int32", "it: supports['result_dtypes']='int32' must be a dict, {dtype: name} or"),
        ({"int9": "int32"}, "must be a dict, {dtype: name} or {dtype: {op: name}}"),
        ({"int8": {"output": "int32"}}, "must be a dict, {dtype: name} or {dtype: {op: name}}"),
        ({"int8": "int31"}, "supports['result_dtypes']: 'int31' must be one of bfloat16, float16"),
        ({"int8": {"forward": 3}}, "supports['result_dtypes']: 3 must be one of bfloat16"),
        ({"float32": "int32"}, "lets float32 give int32; integers give integers or floats, others"),
        ({"float32": "complex64"}, "lets float32 give complex64; integers give"),
        ({"int8": "complex64"}, "lets int8 give complex64; integers give"),
        ({"int16": "int32"}, "names int16, which supports['dtypes'] does not list"),
    ],
)
def test_bad_result_dtypes_give_one_line(value: Any, says: str) -> None:
    """What npconv's own dtype= refuses, and what is never asked, cannot be declared."""
    with pytest.raises(NotAnImplementationError, match=re.escape(says)) as caught:
        declared({"dtypes": ["int8", "float32"], "result_dtypes": value})
    assert "\n" not in str(caught.value)


def test_paddings_may_be_declared_by_name() -> None:
    """Single names of padding widen what is asked by them alone; 'string' by all of them."""
    same, lower = replace(DENSE, padding="same"), replace(DENSE, padding="same_lower")
    assert declared({"padding": ["pair", "same"]}).asks(same)
    assert not declared({"padding": ["pair", "same"]}).asks(lower)
    assert declared({"padding": ["string"]}).asks(lower)
    assert not declared({"padding": ["string"]}).asks(DENSE)


def test_misspelled_declaration_is_asked_for() -> None:
    """A key of `supports` that is nearly one ends in the one that was perhaps meant."""
    with pytest.raises(NotAnImplementationError, match=r"; did you mean 'dtypes'\?$"):
        declared({"dtype": ["float32"]})


# ------------------------------------------------------------------ common mistakes


class Methods:
    """A class whose functions need an instance."""

    def conv2d(self, input: Any, weight: Any, bias: Any, *rest: Any) -> Any:
        """Return who was called."""
        return self, input, weight, bias, rest


class Needy(Methods):
    """A class that cannot be made without arguments."""

    def __init__(self, device: str) -> None:
        self.device = device


class Callable_:  # noqa: N801  # beside typing's
    """A class whose instances are called."""

    def __call__(self, *arguments: Any) -> Any:
        """Return what came."""
        return arguments


def test_class_of_methods_is_made_an_instance_of() -> None:
    """A class without arguments is called once; one whose functions are static is used as it is."""
    it = Implementation.of(Methods, "it")
    assert isinstance(it.forward(CASE, operands(CASE))[0], Methods)
    assert Implementation.of(Callable_, "it").forward(CASE, operands(CASE))[3] == CASE.stride
    assert Implementation.of(Static, "it").functions["conv2d_weight"] is Static.conv2d_weight


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (Needy, "it is a class that takes arguments: name an instance of it, as in `kernel = Nee"),
        (dict, "it is a class without any of conv2d, conv2d_backward, conv2d_input, "),
        (lambda x, w: x, "<lambda>(x, w) must take 7 arguments by position, conv2d(input, weight"),
        (
            module(conv2d=lambda x, w, b, stride, padding: x),
            "it: <lambda>(x, w, b, stride, padding) must take 7 arguments by position, conv2d(inp",
        ),
        (
            module(conv2d=nothing, conv2d_backward=lambda g, x, w, s, p, d, groups: x),
            "must take 8 arguments by position, conv2d_backward(grad_output, input, weight, stride",
        ),
        (
            module(conv2d=lambda x, w, b, s, p, d, *, groups: x),
            "must take 7 arguments by position",
        ),
        (module(conv2d_out=lambda *a, out: out), "must take 8 arguments by position, conv2d_out("),
        (
            module(conv2d=nothing, conv2d_backwards=nothing),
            "it has conv2d_backwards: did you mean ",
        ),
        (module(conv_2d=nothing), "it has conv_2d: did you mean conv2d?"),
        (module(conv2D=nothing), "it has conv2D: did you mean conv2d?"),
    ],
)
def test_common_mistake_of_a_target_gives_one_line(target: Any, says: str) -> None:
    """A class, a signature or a name that cannot be meant is refused before any case."""
    with pytest.raises(NotAnImplementationError, match=re.escape(says)) as caught:
        Implementation.of(target, "it")
    assert "\n" not in str(caught.value)


def test_signatures_that_can_be_called_are_accepted() -> None:
    """Defaults, stars, built-in functions and callables of any kind are taken as they are."""
    for target in (
        lambda x, w, b=None, s=1, p=0, d=1, g=1, more=None: x,
        lambda *a: a,
        SimpleNamespace(conv2d=max),
        module(conv2d=nothing, conv2d_naive=nothing, convolve=nothing),
    ):
        assert "forward" in Implementation.of(target, "it").supports.ops


def test_torch_module_says_what_to_do() -> None:
    """A torch module holds its own weight; one whose forward takes all arguments serves."""
    torch = pytest.importorskip("torch", reason="makes torch modules")

    class Function(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch comes late
        def forward(
            self, input: Any, weight: Any, bias: Any, s: Any, p: Any, d: Any, g: Any
        ) -> Any:
            return s

    assert Implementation.of(Function(), "it").forward(CASE, operands(CASE)) == CASE.stride
    for target in (torch.nn.Conv2d(3, 4, 2), torch.nn.Conv2d, Function):
        with pytest.raises(NotAnImplementationError) as caught:
            Implementation.of(target, "it")
        assert "\n" not in str(caught.value)
    says = "it is a torch module, which holds its own weight: give a function conv2d(input, "
    with pytest.raises(NotAnImplementationError, match=re.escape(says)):
        Implementation.of(torch.nn.Conv2d(3, 4, 2), "it")


# ---------------------------------------------------------------------- conv2d_out


def test_conv2d_out_serves_forward_where_it_stands_alone() -> None:
    """It is called with out before conv2d's arguments, and what it wrote is the output."""
    seen = []

    def conv2d_out(out: Any, *arguments: Any) -> None:
        seen.append((out, *arguments))
        out[...] = 7

    it = Implementation.of(SimpleNamespace(conv2d_out=conv2d_out), "it")
    arrays = operands(CASE)
    output = it.forward(CASE, arrays)
    assert it.supports.ops == ("forward",)
    assert output.shape == CASE.geometry.output_shape
    assert (output == 7).all()
    out, x, w, b, *rest = seen[0]
    assert np.shares_memory(out, output)
    assert (x is arrays.input, w is arrays.weight, b is arrays.bias) == (True, True, True)
    assert rest == [(2, 1), (1, 0), (1, 2), 2]


def test_out_is_laid_out_as_the_case_and_has_the_result_dtype() -> None:
    """Strides follow the layout as far as it can be written; the dtype is the declared one."""
    target = SimpleNamespace(
        conv2d_out=nothing, supports={"dtypes": ["int8"], "result_dtypes": {"int8": "int32"}}
    )
    it = Implementation.of(target, "it")
    for layout, contiguous in (
        ("packed", True), ("readonly", True), ("expanded", True), ("stepped_weight", True),
        ("channels_last", False), ("channel_slice", False), ("stepped", False),
        ("reversed", False), ("transposed", False),
    ):  # fmt: skip
        out = it.guarded(replace(CASE, dtype="int8", layout=layout), 0).out
        assert out.dtype == np.int32
        assert out.flags.writeable
        assert out.flags.c_contiguous == contiguous, layout
