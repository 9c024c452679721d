# SPDX-License-Identifier: MIT
"""As much of typing as annotations and type checkers need; nothing of it does anything in the guest.

Annotations are never evaluated there. What is evaluated all the same, such as `Pair = Tuple[int, int]`, may subscript
and combine the forms. There are no base classes: no Generic, Protocol, NamedTuple, TypedDict.
"""

TYPE_CHECKING = False


class _Form:
    """Any, Optional and so on: whatever is done with it, it is a form again."""

    def __getitem__(self, _arguments):
        return self

    def __or__(self, _other):
        return self

    __ror__ = __or__


Any = Awaitable = Callable = ClassVar = Coroutine = Dict = Final = FrozenSet = Iterable = Iterator = _Form()
List = Literal = Mapping = NoReturn = Optional = Self = Sequence = Set = Tuple = Type = Union = Any


def TypeVar(_name, *_constraints, **_options):
    return Any


def cast(_type, value):
    return value


def overload(function):
    return function


final = no_type_check = overload
