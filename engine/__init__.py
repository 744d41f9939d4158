"""Decides which songs suit a member: pure Python, NumPy and SciPy; no Django, no I/O, no clock."""
