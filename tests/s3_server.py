"""An S3 server on the loopback (moto's), for the tests of object stores."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def s3_bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """Gives the URI of a new bucket, and the environment in which it is found, set in this process meanwhile.

    Moto's servers of one process share their buckets, whatever their ports: each gets a name of its own.
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    name = f"bucket-{uuid.uuid4().hex}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in env.items():
                patch.setenv(key, value)
            fsspec.filesystem("s3").mkdir(name)
            yield f"s3://{name}", env
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
        server.stop()
