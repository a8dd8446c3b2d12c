"""What happens when things break: real processes, real signals, and the truth that the caller kept to compare with."""
