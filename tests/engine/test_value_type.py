"""Naming, storing and measuring values: different values have different names, and stored ones come back equal."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.engine.blocked import Blocked
from mezzotint.engine.errors import DeclarationError
from mezzotint.engine.value_type import NotStorableError, Packed, canonical, nbytes, pack, unpack, value_type


@value_type("tests.Point")
@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None
    length: float = dataclasses.field(init=False, default=0.0, compare=False)


@value_type("tests.Place")
@dataclasses.dataclass(frozen=True)
class Place:
    x: Any
    y: Any = None


@dataclasses.dataclass(frozen=True)
class Unknown:
    x: int = 0


class Pair(NamedTuple):
    a: int
    b: int


class Mode(enum.Enum):
    FAST = "fast"
    FINE = "fine"


class Other(enum.Enum):
    FAST = "fast"


def name(value: Any) -> bytes:
    return b"".join(canonical(value))


atoms = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4) | st.binary(max_size=4)
)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=8,
)


def described(value: Any) -> Any:
    """Something that is equal exactly for values that are the same in kind and content; an oracle for names."""
    if isinstance(value, dict):
        return ("dict", frozenset((described(key), described(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(described(item) for item in value))
    if isinstance(value, Point):
        return ("Point", described(value.x), described(value.y))
    return (type(value).__name__, repr(value))


class TestNames:
    @settings(max_examples=50)
    @given(values, values)
    def test_two_values_have_one_name_exactly_when_they_are_the_same(self, a: Any, b: Any) -> None:
        assert (name(a) == name(b)) == (described(a) == described(b))

    @settings(max_examples=50)
    @given(st.lists(values, max_size=3), st.lists(values, max_size=3))
    def test_a_run_of_values_can_be_read_in_one_way_only(self, a: list[Any], b: list[Any]) -> None:
        joined = b"".join(map(name, a)), b"".join(map(name, b))
        assert (joined[0] == joined[1]) == ([*map(described, a)] == [*map(described, b)])

    def test_values_that_are_equal_in_python_but_of_another_type_differ(self) -> None:
        alike = [1, 1.0, True, "1", b"1", [1], (1,), {1: 1}, {"1": 1}, [[1]], [1.0], Point(1), Place(1), [Point(1)],
                 None, "None", 0, 0.0, -0.0, False, "", b"", [], (), {}, [[]], "i1;", "True;",
                 numpy.array([1]), numpy.array([[1]]), numpy.array([1.0]), numpy.array(1), numpy.int64(1),
                 numpy.array([1], "int32"), numpy.array([True]), Mode.FAST, Other.FAST, "fast", Mode.FINE, Blocked(),
                 Blocked(""), math.inf, -math.inf]  # fmt: skip
        assert len({name(value) for value in alike}) == len(alike)

    def test_the_order_of_a_dict_makes_no_difference_and_that_of_a_list_does(self) -> None:
        assert name({"a": 1, "b": [2], 3: None}) == name({3: None, "b": [2], "a": 1})
        assert name([1, 2]) != name([2, 1])

    def test_keys_that_cannot_be_compared_can_be_named(self) -> None:
        assert name({(1, "a"): 1, ("a", 1): 2, None: 3, 2.5: 4}) == name({2.5: 4, None: 3, ("a", 1): 2, (1, "a"): 1})

    @pytest.mark.parametrize("value", [math.nan, [math.nan], {"a": (math.nan,)}, {math.nan: 1}, Point(math.nan)])
    def test_nan_has_no_name(self, value: Any) -> None:
        with pytest.raises(NotStorableError, match="NaN"):
            name(value)

    @pytest.mark.parametrize(
        "value",
        [object(), {1, 2}, Unknown(), Pair(1, 2), OrderedDict(a=1), len, numpy.array([object()]), numpy.str_("a"),
         numpy.ma.array([1, 2], mask=[True, False]), numpy.array([1], "datetime64[s]"), bytearray(b"a"), 1j],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_other_objects_have_none(self, value: Any) -> None:
        with pytest.raises(NotStorableError):
            name([value])
        with pytest.raises(NotStorableError):
            pack([value])

    def test_numbers_of_any_length_and_broken_text_have_a_name(self) -> None:
        assert name(10**5000) != name(10**5000 + 1)
        assert name("\ud800") != name("\ud801")

    def test_a_value_in_itself_has_no_name(self) -> None:
        ring: list[Any] = []
        ring.append(ring)
        with pytest.raises(NotStorableError, match="itself"):
            name(ring)

    def test_arrays_are_named_by_what_they_hold_and_not_by_how_it_lies(self) -> None:
        array = numpy.arange(12, dtype="float32").reshape(3, 4)
        assert name(array) == name(numpy.asfortranarray(array)) == name(array[::-1][::-1]) == name(array.astype(">f4"))
        assert name(array) != name(array.T)
        assert name(array) != name(array.reshape(4, 3))

    def test_names_last(self) -> None:
        """What a name is made of must not change: caches would be stale. A change here needs a new disk format."""
        value = {"b": [1, 2.5, "é", None, True], "a": (Point(1, b"x"), -0.0)}
        assert name(value) == (
            b"d2:s1:at2:v2:s11:tests.Points1:xi1;s1:ybytes uint8(1,);xf-0.0;s1:bl5:i1;f2.5;s2:\xc3\xa9None;True;"
        )


class TestStoring:
    @settings(max_examples=50)
    @given(values | st.floats())
    def test_what_is_packed_comes_back(self, value: Any) -> None:
        packed = pack(value)
        assert described(unpack(Packed(json.loads(json.dumps(packed.plain)), packed.arrays))) == described(value)

    @pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", ">f8"])
    @pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0, 1)])
    def test_arrays_come_back_with_their_type_and_shape(self, dtype: str, shape: tuple[int, ...]) -> None:
        array = numpy.ones(shape, dtype)
        back = unpack(pack({"a": [array], "b": Point(array)}))
        for found in (back["a"][0], back["b"].x):
            assert found.dtype == array.dtype.newbyteorder("=")
            assert found.shape == shape
            assert (found == array).all()

    def test_parts_of_arrays_come_back(self) -> None:
        array = numpy.arange(24).reshape(2, 3, 4)
        for view in (array.T, array[:, ::-1], numpy.asfortranarray(array), array[0, :, 1]):
            assert (unpack(pack(view)) == view).all()

    def test_numpy_numbers_come_back_as_such(self) -> None:
        back = unpack(pack([numpy.float32(0.1), numpy.bool_(True)]))
        assert [type(item) for item in back] == [numpy.float32, numpy.bool_]
        assert back == [numpy.float32(0.1), True]

    @pytest.mark.parametrize(
        "value",
        [math.inf, -math.inf, 10**5000, -(10**400), 2**64, "\ud800", ["list", 1], ["torch", "t0"]],
        ids=lambda value: type(value).__name__,
    )
    def test_odd_values_come_back(self, value: Any) -> None:
        assert unpack(Packed(json.loads(json.dumps(pack(value).plain)), {})) == value

    def test_nan_comes_back_as_nan(self) -> None:
        assert math.isnan(unpack(pack(math.nan)))

    def test_values_of_value_types_nest(self) -> None:
        value = Point((Place(1, {"a": Blocked("no")}),), [Point(2)])
        assert unpack(pack(value)) == value

    def test_an_unknown_class_is_refused_by_name(self) -> None:
        with pytest.raises(NotStorableError, match="class Unknown"):
            pack({"a": Unknown()})
        with pytest.raises(NotStorableError, match=r"'tests\.Gone' is not known; is its plugin loaded"):
            unpack(Packed(["value", "tests.Gone", {}], {}))

    def test_a_class_that_changed_is_refused(self) -> None:
        with pytest.raises(NotStorableError, match="did the class change"):
            unpack(Packed(["value", "tests.Point", {"z": 1}], {}))

    def test_a_value_in_itself_is_refused(self) -> None:
        ring: dict[str, Any] = {}
        ring["a"] = ring
        with pytest.raises(NotStorableError, match="itself"):
            pack(ring)

    def test_a_value_type_is_a_dataclass_and_its_name_is_its_own(self) -> None:
        with pytest.raises(DeclarationError, match="no dataclass yet; put it above @dataclass"):
            value_type("tests.Plain")(type("Plain", (), {}))
        with pytest.raises(DeclarationError, match=r"that of .*Point already; give it a name of its own"):
            value_type("tests.Point")(Unknown)

    def test_a_value_type_may_be_made_again_as_by_a_reload(self) -> None:
        assert value_type("tests.Place")(Place) is Place


class TestMeasuring:
    def test_arrays_count_their_elements(self) -> None:
        array = numpy.zeros(1000, "float32")
        assert 4000 <= nbytes(array) < 4500
        assert 4000 <= nbytes({"samples": array}) < 5000
        assert 8000 <= nbytes([array, array.copy()]) < 9000
        assert nbytes([array, array]) < 5000

    def test_arrays_in_dataclasses_count(self) -> None:
        assert nbytes(Point(numpy.zeros(1000, "uint8"))) > 1000
        assert nbytes([Unknown(numpy.zeros(1000, "uint8"))]) > 1000  # type: ignore[arg-type]

    def test_text_and_bytes_count(self) -> None:
        assert nbytes("x" * 1000) > 1000
        assert nbytes([b"x" * 1000]) > 1000

    def test_anything_can_be_measured(self) -> None:
        class Odd:
            nbytes = "many"

        class Mute:
            @property
            def nbytes(self) -> int:
                raise RuntimeError("not for sparse ones")

        ring: list[Any] = [Odd(), Mute(), object(), None, lambda: 0, Unknown]
        ring.append({"ring": ring})
        assert 0 < nbytes(ring) < 10_000

    @settings(max_examples=50)
    @given(values)
    def test_a_size_is_positive_and_grows(self, value: Any) -> None:
        assert 0 < nbytes(value) < nbytes([value])
