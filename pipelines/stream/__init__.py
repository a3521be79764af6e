"""From TFRecords to batches: crops, the order of the records, the streams of both tasks.

May import `datasets` and `base`.
"""
