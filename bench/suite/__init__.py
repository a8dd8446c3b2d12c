"""The benchmark suite behind ``make bench``: load, scenarios, baselines, and the page that they write."""
