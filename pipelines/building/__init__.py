"""What the builders of data sets share: folders and pairs, archives, downloads, encoding.

May import `base`.
"""
