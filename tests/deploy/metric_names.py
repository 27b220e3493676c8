"""The names of metrics: those of the program, and those that an expression of Prometheus uses."""
import glob
import os
import re

# Metrics that rules and dashboards use and the program does not have yet; a test fails once it has
# one of them.
COMING = {
    "whipsnake_data_directory_free_bytes", "whipsnake_data_directory_size_bytes",
    "whipsnake_data_directory_used_bytes", "whipsnake_disk_errors_total",
    "whipsnake_finetune_last_progress_timestamp_seconds", "whipsnake_log_lines_total",
    "whipsnake_log_lines_dropped_total"}
RECORDED = re.compile(r"\bmodel:\w+(?::\w+)+")


def of_program(root):
    """Returns the names in the program's source."""
    names = set()
    for path in glob.glob(os.path.join(root, "server/metrics/*.cc")):
        with open(path, encoding="utf-8") as file:
            names |= set(re.findall(r'"((?:whipsnake|process)_\w+)"', file.read()))
    return names


def recorded_in(expression):
    """Returns the names of recording rules in an expression."""
    return set(RECORDED.findall(expression))


def exported_in(expression):
    """Returns the names of the program's metrics in an expression. The three series of a histogram
    have its name."""
    names = re.findall(r"\b(?:whipsnake|process)_\w+", RECORDED.sub("", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
