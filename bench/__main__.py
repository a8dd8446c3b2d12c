"""``python -m bench`` runs the benchmark of HTTP checks."""

from bench.http_check import main

if __name__ == "__main__":
    main()
