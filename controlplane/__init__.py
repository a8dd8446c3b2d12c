"""The control plane: rules, usage, the enforcement log and the page."""
