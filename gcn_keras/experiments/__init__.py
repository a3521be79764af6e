"""The paper's tables as data, the runs behind them, what came of them, and their figures.

May import `training`, and what that may; never a command.
"""
