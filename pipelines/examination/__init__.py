"""What a prepared data set holds: what `doctor` checks and reports, what `prepare` sums up.

May import `stream`, `datasets`, `building` and `base`.
"""
