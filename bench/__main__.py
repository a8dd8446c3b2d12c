"""``python -m bench``: HTTP checks beside their baselines, then the stall of a large push."""

from bench import http_check, rule_stall

if __name__ == "__main__":
    http_check.main()
    rule_stall.main()
