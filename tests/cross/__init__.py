"""What each of several torch releases writes, read by each: ``make cross TORCHES="2.8.0 2.15.0"``.

Each release writes every entry of the regression corpus that it can make, and more graphs (`writing`). Each reads
what all of them wrote, and the corpus itself (`reading`). An archive is

* *exact*: it loads, saves again as what it was, computes what its writer computed, and ``fxarchive compat`` said so;
* *refused*: one error of fxarchive says why, ``fxarchive compat`` said so, and `tests/corpus/expected.py` has a reason;
* *wrong*: anything else.
"""
