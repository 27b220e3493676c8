"""The names of metrics: those of the program, and those that an expression of Prometheus uses."""
import glob
import os
import re

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
