"""The statistics of the experiments: pure functions on mergeable sufficient statistics.

`moments` holds the statistics, `ratio`, `cuped`, `sequential`, `multiplicity`, `srm`, `power`, `forecast`,
`bayes` and `guardrail` one method each; `comparison` puts them together for a pair of arms and a family of
pairs. Functions of the methods take arrays of any leading shape; undefined is NaN there, and None in the
results of `comparison`.
"""
