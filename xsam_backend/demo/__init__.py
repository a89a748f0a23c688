"""``demo``: a real Label Studio, our backend and a dozen pictures, put together by one command.

``running`` says it step by step; every other module is one of its steps.
"""
