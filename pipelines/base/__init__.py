"""What everything else rests on: labels, errors, files, decoding, addresses, the environment.

Imports nothing of this project but itself.
"""
