"""Feeds damaged and hostile files to whatever liteframe reads, and judges what came of it.

`mutate` damages, a file for each kind of input (`videos`, `lists`, ...) makes, feeds and judges, `outcome` holds what
outcomes there are, `ground` notices what happens outside of an input, `workers` are processes that may be killed, and
`run` hands out inputs and counts.
"""
