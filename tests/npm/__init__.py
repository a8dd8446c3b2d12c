"""The SDK of LLM Cost Tracker, as npm has it, against a running sidecar and control plane."""
