"""Requests of one signature merged into one call of the model.

A call is made when a worker is free and the oldest waiting request has waited for the delay, or when enough rows wait.
With a delay of 0 no request waits for another: what arrives while the workers are busy goes together. Requests are
merged only where their arrays agree in shape but for the rows, and only for signatures whose outputs have these rows.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from headrace.transforms.serving.loaded_model import Arrays, LoadedModel
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import Signature


@dataclass(eq=False)
class _Call:
    """One request that waits for its answer."""

    arrays: Arrays
    rows: int
    due: float
    answer: asyncio.Future[Arrays]


@dataclass(eq=False)
class _Lane:
    """Requests that may go together, in the order in which they came."""

    model: LoadedModel
    signature: Signature
    mergeable: bool
    calls: deque[_Call] = field(default_factory=deque)
    rows: int = 0


class Batcher:
    """Runs models in threads of their own; to be used in one event loop.

    Args:
        max_batch: Rows of a merged call. A larger request goes by itself, whole.
        delay: Seconds that a request waits for others.
        workers: Calls at a time.
        max_waiting: Requests that may wait; a further one is refused with 503.
    """

    def __init__(self, *, max_batch: int, delay: float, workers: int, max_waiting: int) -> None:
        self.max_batch, self.delay, self.max_waiting = max_batch, delay, max_waiting
        self.calls = self.merged = 0
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Any, _Lane] = {}
        self._waiting = 0
        self._free = workers
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: queue.SimpleQueue[tuple[_Lane, list[_Call]] | None] = queue.SimpleQueue()
        self._unmergeable: set[tuple[int, str]] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    async def run(self, model: LoadedModel, signature: Signature, arrays: Arrays) -> Arrays:
        """The model's answer to one request.

        Raises:
            RequestError: The model refuses it, or too many requests wait.
        """
        if self._waiting >= self.max_waiting:
            raise RequestError(f"{self._waiting} requests wait for the model, and no more may: try again later", 503)
        rows, shapes = _rows_of(signature, arrays)
        mergeable = shapes is not None and (id(model), signature.name) not in self._unmergeable
        key = (id(model), signature.name, shapes if mergeable else object())
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(model, signature, mergeable)
        call = _Call(arrays, rows, self._loop.time() + (self.delay if mergeable else 0), self._loop.create_future())
        lane.calls.append(call)
        lane.rows += rows
        self._waiting += 1
        self._dispatch()
        return await call.answer

    def close(self) -> None:
        """Ends the threads after the calls that are under way."""
        for _ in self._threads:
            self._jobs.put(None)

    def _dispatch(self) -> None:
        """Gives the free workers what is due; otherwise looks again when something is."""
        while self._free and self._lanes:
            now = self._loop.time()
            due = [item for item in self._lanes.items() if self._is_due(item[1], now)]
            if not due:
                self._look_again(min(lane.calls[0].due for lane in self._lanes.values()))
                return
            key, lane = min(due, key=lambda item: item[1].calls[0].due)
            calls = self._take(lane)
            if not lane.calls:
                del self._lanes[key]
            self._free -= 1
            self._jobs.put((lane, calls))

    def _is_due(self, lane: _Lane, now: float) -> bool:
        return lane.rows >= self.max_batch or lane.calls[0].due <= now

    def _look_again(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._dispatch)

    def _take(self, lane: _Lane) -> list[_Call]:
        calls = [lane.calls.popleft()]
        rows = calls[0].rows
        while lane.calls and rows + lane.calls[0].rows <= self.max_batch:
            calls.append(lane.calls.popleft())
            rows += calls[-1].rows
        lane.rows -= rows
        self._waiting -= len(calls)
        return calls

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            lane, calls = job
            answers = self._answers(lane, calls)
            try:
                self._loop.call_soon_threadsafe(self._finish, calls, answers)
            except RuntimeError:  # the loop was closed: the process ends
                return

    def _answers(self, lane: _Lane, calls: list[_Call]) -> Sequence[Arrays | Exception]:
        self.calls += 1
        if len(calls) > 1:
            try:
                answers = _merged(lane, calls)
            except Exception:
                # One bad request must not fail the others: each by itself, so that the error goes to whom it concerns.
                answers = None
            else:
                if answers is None:
                    self._unmergeable.add((id(lane.model), lane.signature.name))
            if answers is not None:
                self.merged += 1
                return answers
        return [_alone(lane, call) for call in calls]

    def _finish(self, calls: list[_Call], answers: Sequence[Arrays | Exception]) -> None:
        self._free += 1
        for call, answer in zip(calls, answers):
            if call.answer.done():  # its client has gone
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)
        self._dispatch()

    def forget(self, model: LoadedModel) -> None:
        """Forgets a model that is unloaded."""
        self._unmergeable = {known for known in self._unmergeable if known[0] != id(model)}


def _rows_of(signature: Signature, arrays: Arrays) -> tuple[int, Any]:
    """How many rows a request has, and what another's arrays must be like to go with it; None if they cannot."""
    rows = {array.shape[0] for array in arrays.values() if array.ndim}
    if not signature.is_batched or len(rows) != 1:
        return max(rows, default=1), None
    return rows.pop(), tuple(array.shape[1:] for array in arrays.values())


def _merged(lane: _Lane, calls: list[_Call]) -> list[Arrays] | None:
    """The answers of one call for all; None if its outputs do not have the rows of its inputs."""
    arrays = {name: np.concatenate([call.arrays[name] for call in calls]) for name in lane.signature.inputs}
    found = lane.model.run(lane.signature.name, arrays)
    total = sum(call.rows for call in calls)
    if any(array.ndim == 0 or array.shape[0] != total for array in found.values()):
        return None
    answers, start = [], 0
    for call in calls:
        answers.append({name: array[start : start + call.rows] for name, array in found.items()})
        start += call.rows
    return answers


def _alone(lane: _Lane, call: _Call) -> Arrays | Exception:
    try:
        return lane.model.run(lane.signature.name, call.arrays)
    except Exception as error:
        return error
