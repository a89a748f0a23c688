"""Pre-labelling without a service: a Label Studio project, a folder or a bucket, in this process or on Ray Data.

Work is divided into blocks. A block that was begun and not finished is begun again, and what it wrote before counts:
so a run may be killed at any moment, and the same command goes on with it. Within a block, pictures are fetched,
asked about and written beside one another.
"""
