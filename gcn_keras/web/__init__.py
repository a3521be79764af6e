"""The page of the demo: its parts as HTML, its answers, its server, its style sheet.

May import `inference`, and what that may.
"""
