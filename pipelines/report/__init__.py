"""The report of a run: one self-contained HTML file that people can send to each other.

>>> from headrace.pipelines.report import ReportData, report_data, write_report
"""

from headrace.pipelines.report.data import ErrorReport, ReportData, StepReport, report_data
from headrace.pipelines.report.page import render, write_report, write_run_report

__all__ = ["ErrorReport", "ReportData", "StepReport", "render", "report_data", "write_report", "write_run_report"]
