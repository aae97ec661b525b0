"""The family of document filters: each file adds one rule by which documents are left out."""

from ptft.corpus.filters.filter import Filter
from ptft.family import Family

FILTERS: Family[type[Filter]] = Family("filter", "ptft.corpus.filters", Filter)
