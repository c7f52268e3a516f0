"""What a generator body may yield, and what it gets for it.

A body that yields is suspended without holding a thread until its request is answered, so a lane can interleave and
merge the requests of several prompts.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .port import Lazy

if TYPE_CHECKING:
    from .context import Context

T = TypeVar("T")


class Request:
    """Base of requests that the lane itself answers, alone or merged with equal ones of other prompts.

    A subclass is the extension point for anything that lanes should batch: `nodes.sampling.denoise.Denoise` is one.
    """

    __slots__ = ()
    is_for_executor: ClassVar[bool] = False

    def group(self) -> Hashable:
        """Requests of equal group may be answered together; None means alone."""
        return None

    @classmethod
    def answer(cls, requests: Sequence[Any], context: Context) -> list[Any]:
        """One answer for each request, in order. Runs on the lane's thread."""
        raise TypeError(f"{cls.__name__} does not say how it is answered; define the classmethod 'answer'")


class Need(Request):
    """`value = yield Need(parameter)`: compute these lazy inputs now. Several give a tuple of values.

    The inputs may be given as the `Lazy` parameters themselves or by name.
    """

    __slots__ = ("names",)
    is_for_executor = True

    def __init__(self, *inputs: str | Lazy[Any]) -> None:
        for given in inputs:
            if not isinstance(given, str | Lazy):
                raise TypeError(f"Need takes Lazy parameters or their names, not a value of {type(given).__name__}; "
                                "annotate the parameter with Lazy[...]")  # fmt: skip
        self.names = tuple(given if isinstance(given, str) else given.name for given in inputs)


class Await(Request):
    """Run coroutines at the same time and give the list of their results. Of an `Invocation` of async bodies only."""

    __slots__ = ("coroutines",)
    is_for_executor = True

    def __init__(self, *coroutines: Coroutine[Any, Any, Any]) -> None:
        self.coroutines = coroutines


Requests = Generator[Request, Any, T]
"""The return annotation of a generator body: `-> Requests[Latent]`."""


def drive(body: Generator[Request, Any, T], context: Context | None = None) -> T:
    """Run a generator body to its end with no engine, answering each request alone. For tests and scripts.

    What an answer raises is raised in the body, as a lane does it.

    Raises:
        TypeError: the body asks for something only an executor can give (`Need`, `Expand`), or yields no request.
    """
    from .context import Context

    context = context or Context()
    try:
        request = next(body)
        while True:
            try:
                answer = _answer(request, context)
            except Exception as error:
                request = body.throw(error)
            else:
                request = body.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _answer(request: Any, context: Context) -> Any:
    if not isinstance(request, Request):
        raise TypeError(f"the body yields a value of {type(request).__name__}; yield a Request")
    if request.is_for_executor:
        raise TypeError(f"{type(request).__name__} needs an engine; call the node through one")
    return type(request).answer([request], context)[0]
