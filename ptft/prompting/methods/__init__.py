"""The family of scoring methods: what the choices of a question are compared by."""

from ptft.family import Family
from ptft.prompting.method import Method

METHODS: Family[type[Method]] = Family("scoring method", "ptft.prompting.methods", Method)
