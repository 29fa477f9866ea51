"""A stand-in for `onnxruntime_perf_test`: it runs the model in this machine's onnxruntime and prints in that format.

The fake phone starts `ask SOCKET LOG ARGUMENTS...`, which starts quickly because it only sends a request to
`serve SOCKET`, a process that has loaded the libraries. The measured times are those of the real engine, but the
process starts faster than the real program.
"""

import json
import os
import socket
import sys
from pathlib import Path


def serve(address: str) -> None:
    import numpy as np
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                folder, arguments = json.loads(stream.readline())
                try:
                    answer = [0, perf_test(onnxruntime, np, Path(folder), arguments)]
                except Exception as error:  # the program prints what it caught
                    answer = [255, str(error)]
                stream.write(json.dumps(answer))


def perf_test(onnxruntime, np, folder: Path, arguments: list[str]) -> str:
    from time import perf_counter as now

    *options, model, result = arguments
    given = dict(zip(options, [*options[1:], ""], strict=True))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = int(given["-x"]), int(given["-y"])
    start = now()
    session = onnxruntime.InferenceSession(str(folder / model), settings, providers=["CPUExecutionProvider"])
    created = now() - start
    (entry,) = session.get_inputs()
    feed = {entry.name: np.random.default_rng(int(given["-S"])).uniform(0, 5, entry.shape).astype(np.float32)}
    times = []
    for _ in range(1 + int(given["-r"])):
        start = now()
        session.run(None, feed)
        times.append(now() - start)
    first, *times = times
    with (folder / result).open("a") as file:
        for number, time in enumerate(times):
            print(f"model-factory,{time:g},91336704,62,{number}", file=file)
    return (
        f"Setting intra_op_num_threads to {given['-x']}\nSession creation time cost: {created:g} s\n"
        f"First inference time cost: {first * 1e3:.0f} ms\nTotal inference time cost: {sum(times):g} s\n"
        f"Total inference requests: {len(times)}\n"
        f"Average inference time cost total: {sum(times) / len(times) * 1e3:f} ms\n"
        f"Total inference run time: {sum(times):g} s\nNumber of inferences per second: {len(times) / sum(times):g} \n"
        "Avg CPU usage: 62 %\nPeak working set size: 91336704 bytes\n"
    )


def ask(address: str, log: str, arguments: list[str]) -> int:
    if not arguments:
        print("See 'onnxruntime_perf_test --help'.", file=sys.stderr)
        return 255
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        with connection.makefile("rw") as stream:
            stream.write(json.dumps([os.getcwd(), arguments]) + "\n")  # noqa: PTH109 - pathlib loads slowly
            stream.flush()
            code, text = json.loads(stream.readline())
    with open(log, "a") as file:  # noqa: PTH123
        file.write("ran\n")
    print(text)
    return code


if __name__ == "__main__":
    command, socket_address, *rest = sys.argv[1:]
    sys.exit(serve(socket_address) if command == "serve" else ask(socket_address, rest[0], rest[1:]))
