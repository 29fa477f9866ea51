"""From workloads and a profile to latency, memory, file size and energy."""
