"""Networks computed as their 8-bit files compute: a cheap score, and fine-tuning for it. Needs no engine."""
