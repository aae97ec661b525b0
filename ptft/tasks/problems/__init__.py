"""The family of problems: each file adds one kind of labels, with its targets, loss, answers and figures."""

from ptft.family import Family
from ptft.tasks.problem import Problem

PROBLEMS: Family[type[Problem]] = Family("problem", "ptft.tasks.problems", Problem)
