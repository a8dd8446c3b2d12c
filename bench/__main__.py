"""``python -m bench``: HTTP checks beside their baselines, then the stall of a large push, then memory."""

from bench import http_check, memory, rule_stall

if __name__ == "__main__":
    http_check.main()
    rule_stall.main()
    memory.main()
