"""The family of steps: each file adds one verb of the command line that works in a run folder."""

from ptft.family import Family
from ptft.steps.step import Step

STEPS: Family[type[Step]] = Family("step", "ptft.steps", Step)
