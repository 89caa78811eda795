"""`python -m headrace.transforms.serving PATH`: the server without the rest of Headrace's command line."""

from __future__ import annotations

import argparse
import os
import sys

from headrace.transforms.serving import commands

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m headrace.transforms.serving", description=__doc__)
    commands.add_serve_arguments(parser)
    code = commands.serve(parser.parse_args())
    sys.stdout.flush()
    sys.stderr.flush()
    # All requests are answered: to take TensorFlow apart, module by module, would be a second of work.
    os._exit(code)
