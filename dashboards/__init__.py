"""The report of a sweep, made from tables alone."""

from dashboards.data import Picture, ReportData
from dashboards.report import write_report

__all__ = ["Picture", "ReportData", "write_report"]
