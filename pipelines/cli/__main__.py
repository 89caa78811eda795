"""`python -m headrace.pipelines.cli`, where the command is not on the path."""

import sys

from headrace.pipelines.cli import main

sys.exit(main())
