"""Cost models: predict latency, memory, file size and energy from workloads and a profile."""
