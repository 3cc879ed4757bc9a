"""How runs are made and judged: the notebooks' runner, their pairs, and the comparison of two runs."""
