"""What a run found, for people: the table of figures, the pictures, the HTML page and the model card."""

from ptft.report.page import write_report
from ptft.report.tables import final_table, format_interval

__all__ = ["final_table", "format_interval", "write_report"]
