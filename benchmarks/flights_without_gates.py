"""The flights example with its gates switched off: what a run takes without them."""

from __future__ import annotations

import functools

from headrace.pipelines import pipeline

from examples.flights import pipeline as example

example.Pusher = functools.partial(example.Pusher, skew_gate=False, infra_gate=False)


@pipeline
def flights(serving: str = "serving/flights", epochs: int = 1, seed: int = 0, weather: bool = True) -> None:
    """As `examples.flights.pipeline.flights`."""
    example.flights.function(serving, epochs, seed, weather)
