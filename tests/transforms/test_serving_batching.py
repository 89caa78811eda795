"""Merging requests: what goes together, how long it waits, and who gets which answer or error."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from headrace.transforms.serving.batching import Batcher
from headrace.transforms.serving.dtypes import BY_NAME
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import Signature, TensorInfo


def tensor(name: str, *shape: int | None) -> TensorInfo:
    return TensorInfo(name, BY_NAME["float32"], shape, name)


SIGNATURE = Signature("double", "predict", {"x": tensor("x", None)}, {"y": tensor("y", None)})
LISTS = Signature("lists", "predict", {"x": tensor("x", None, None)}, {"y": tensor("y", None)})
SCALAR = Signature("scalar", "predict", {"x": tensor("x")}, {"y": tensor("y")})


class Doubling:
    """A model that doubles, notes the rows of each call, and waits where it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def run(self, name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = arrays["x"]
        self.calls.append(x.shape)
        self.may_go.wait(10)
        if np.any(x < 0):
            raise RequestError("negative")
        if name == "scalar":
            return {"y": x * 2}
        return {"y": (x if x.ndim == 1 else x.sum(axis=1)) * 2}


def batcher(**options: Any) -> Batcher:
    return Batcher(**({"max_batch": 8, "delay": 0.0, "workers": 1, "max_waiting": 100} | options))


def floats(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32)}


async def together(
    made: Batcher, model: Any, *requests: dict[str, np.ndarray], signature: Any = SIGNATURE
) -> list[Any]:
    found = await asyncio.gather(*(made.run(model, signature, one) for one in requests), return_exceptions=True)
    made.close()
    return [one if isinstance(one, BaseException) else one["y"].tolist() for one in found]


def test_what_arrives_while_the_model_is_busy_goes_together() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher()
        model.may_go.clear()
        asyncio.get_running_loop().call_later(0.05, model.may_go.set)
        found = await together(made, model, floats(1), floats(2, 3), floats(4), floats(5))
        assert found == [[2], [4, 6], [8], [10]]
        assert model.calls == [(1,), (4,)], "the first alone, for nothing was busy; the others as one"

    asyncio.run(main())


def test_with_a_delay_the_first_waits_for_others_but_not_longer() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(delay=0.05)
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await together(made, model, floats(1), floats(2)) == [[2], [4]]
        assert model.calls == [(2,)] and loop.time() - start >= 0.05

    asyncio.run(main())


def test_enough_rows_go_at_once() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(delay=30.0, max_batch=4)
        found = await asyncio.wait_for(together(made, model, *(floats(n) for n in range(8))), 10)
        assert found == [[2.0 * n] for n in range(8)] and model.calls == [(4,), (4,)]

    asyncio.run(main())


def test_a_larger_request_goes_whole_and_alone() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(max_batch=4)
        model.may_go.clear()
        asyncio.get_running_loop().call_later(0.05, model.may_go.set)
        found = await together(made, model, floats(0), floats(*range(9)), floats(1))
        assert found[1] == [2.0 * n for n in range(9)]
        assert model.calls == [(1,), (9,), (1,)]

    asyncio.run(main())


def test_only_arrays_of_one_shape_go_together() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(delay=0.05)
        wide, narrow = {"x": np.ones((1, 3), np.float32)}, {"x": np.ones((2, 2), np.float32)}
        found = await together(made, model, wide, narrow, wide, signature=LISTS)
        assert found == [[6], [4, 4], [6]] and sorted(model.calls) == [(2, 2), (2, 3)]

    asyncio.run(main())


def test_what_has_no_rows_goes_alone() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(delay=0.05)
        one = {"x": np.array(3, np.float32)}
        assert await together(made, model, one, one, signature=SCALAR) == [6, 6]
        assert model.calls == [(), ()]

    asyncio.run(main())


def test_an_error_goes_to_whom_it_concerns() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(delay=0.05)
        good, bad, other = await together(made, model, floats(1), floats(-1), floats(2))
        assert (good, other) == ([2], [4]) and isinstance(bad, RequestError)
        assert model.calls == [(3,), (1,), (1,), (1,)]

    asyncio.run(main())


def test_outputs_that_do_not_have_the_rows_are_never_shared_out() -> None:
    class Summing(Doubling):
        def run(self, name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.calls.append(arrays["x"].shape)
            return {"y": arrays["x"].sum(keepdims=True)}

    async def main() -> None:
        model, made = Summing(), batcher(delay=0.05)
        assert [(await made.run(model, SIGNATURE, floats(5)))["y"].tolist()] == [[5]]
        first = await asyncio.gather(*(made.run(model, SIGNATURE, floats(n, n)) for n in (1, 2)))
        assert [one["y"].tolist() for one in first] == [[2], [4]]
        assert model.calls[1:] == [(4,), (2,), (2,)]
        second = await asyncio.gather(*(made.run(model, SIGNATURE, floats(n, n)) for n in (1, 2)))
        assert [one["y"].tolist() for one in second] == [[2], [4]]
        assert model.calls[4:] == [(2,), (2,)], "it is not tried again"
        made.close()

    asyncio.run(main())


def test_too_many_waiting_requests_are_refused() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(max_waiting=2, max_batch=1)
        model.may_go.clear()
        asyncio.get_running_loop().call_later(0.05, model.may_go.set)
        found = await together(made, model, *(floats(n) for n in range(4)))
        assert found[:3] == [[0], [2], [4]], "one is being answered, two wait"
        assert isinstance(found[3], RequestError) and found[3].status == 503

    asyncio.run(main())


def test_a_client_that_goes_takes_nothing_from_the_others() -> None:
    async def main() -> None:
        model, made = Doubling(), batcher(delay=0.05)
        going = asyncio.create_task(made.run(model, SIGNATURE, floats(1)))
        staying = asyncio.create_task(made.run(model, SIGNATURE, floats(2)))
        await asyncio.sleep(0.01)
        going.cancel()
        assert (await staying)["y"].tolist() == [4]
        with pytest.raises(asyncio.CancelledError):
            await going
        made.close()

    asyncio.run(main())
