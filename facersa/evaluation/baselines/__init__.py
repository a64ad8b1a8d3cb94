"""The other systems of the paper's tables, each in small, on one generator."""
