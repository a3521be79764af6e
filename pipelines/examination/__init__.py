"""What `doctor` checks in a prepared data set, and its report.

May import `stream`, `datasets` and `base`.
"""
