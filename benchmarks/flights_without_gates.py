"""The flights example with its gates switched off: what a run takes without them."""

from __future__ import annotations

import functools

from examples.flights import pipeline as example

example.Pusher = functools.partial(example.Pusher, skew_gate=False, infra_gate=False)
flights = example.flights
