"""A process of its own for everything that runs native code of an engine, with limits on time and memory."""
