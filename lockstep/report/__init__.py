"""What a campaign exercised: on a terminal, as a page, for continuous integration, as figures."""

from lockstep.report.files import check_writable, report_paths, write_report, write_reports
from lockstep.report.terminal import print_summary, render

__all__ = [
    "check_writable",
    "print_summary",
    "render",
    "report_paths",
    "write_report",
    "write_reports",
]
