"""The page of the demo: its parts as HTML, the desk that answers it, its server, its style sheet.

May import `inference`, and what that may.
"""
