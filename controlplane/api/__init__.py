"""The HTTP interface of the control plane."""
