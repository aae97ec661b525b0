"""The family of learning-rate schedules."""

from ptft.family import Family
from ptft.optim.schedule import Schedule

SCHEDULES: Family[type[Schedule]] = Family("schedule", "ptft.optim.schedules", Schedule)
