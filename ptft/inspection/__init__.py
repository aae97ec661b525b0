"""What the command line says without running anything: members of families, recipes, samples, checks and lineage."""
